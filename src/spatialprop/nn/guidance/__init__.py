"""Guidance networks: they predict the gates of the propagation, from the image or from a segmenter's features too."""

from spatialprop.nn.guidance.light import LightGuidance
from spatialprop.nn.guidance.residual import ResidualGuidance
from spatialprop.nn.guidance.resnet import ResNetGuidance
from spatialprop.nn.guidance.trunk import TrunkGuidance
from spatialprop.nn.guidance.unet import UNetGuidance
from spatialprop.nn.guidance.vgg16 import VGG16Guidance

__all__ = ["LightGuidance", "ResNetGuidance", "ResidualGuidance", "TrunkGuidance", "UNetGuidance", "VGG16Guidance"]
