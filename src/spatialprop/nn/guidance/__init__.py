"""Networks that look at the image and say how strongly its pixels belong together."""

from spatialprop.nn.guidance.light import LightGuidance
from spatialprop.nn.guidance.unet import UNetGuidance
from spatialprop.nn.guidance.vgg16 import VGG16Guidance

__all__ = ["LightGuidance", "UNetGuidance", "VGG16Guidance"]
