"""Guidance networks: they predict from the image the gates of the propagation."""

from spatialprop.nn.guidance.light import LightGuidance
from spatialprop.nn.guidance.residual import ResidualGuidance
from spatialprop.nn.guidance.resnet import ResNetGuidance
from spatialprop.nn.guidance.unet import UNetGuidance
from spatialprop.nn.guidance.vgg16 import VGG16Guidance

__all__ = ["LightGuidance", "ResNetGuidance", "ResidualGuidance", "UNetGuidance", "VGG16Guidance"]
