"""Networks that say what is where, roughly.

All of them take RGB images (N, 3, H, W) from 0 to 1 of any size, and give logits (N, K, h, w) that tile the image: h is
H / `stride`, rounded up. `forward_with_features` gives, besides, what the logits are computed from: `feature_channels`
at `feature_stride`. The strides of `External` are those of its model.
"""

from spatialprop.nn.segmenters.deeplab import DeepLabResNet101, DeepLabVGG
from spatialprop.nn.segmenters.external import External, OnFeatures
from spatialprop.nn.segmenters.fcn8s import FCN8s
from spatialprop.nn.segmenters.frontend import Context, FrontEnd
from spatialprop.nn.segmenters.highres import HighRes
from spatialprop.nn.segmenters.unet import UNet

__all__ = [
    "Context",
    "DeepLabResNet101",
    "DeepLabVGG",
    "External",
    "FCN8s",
    "FrontEnd",
    "HighRes",
    "OnFeatures",
    "UNet",
]
