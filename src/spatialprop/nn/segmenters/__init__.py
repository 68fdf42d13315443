"""Segmentation networks: coarse class scores of an image.

All of them take RGB images (N, 3, H, W) from 0 to 1 of any size, and give logits (N, K, h, w) that tile the image: h is
H / `stride`, rounded up. `forward_with_features` gives the features that the logits are computed from, too:
`feature_channels` of them at `feature_stride`. The strides of `External` are those of its model.

To add one, write its module here, name its class in conf/segmenter/<name>.yaml, and add a line to
tests/nn/segmenters/test_every_segmenter.py.
"""

from spatialprop.nn.segmenters.deeplab import DeepLabResNet101, DeepLabVGG
from spatialprop.nn.segmenters.external import External, OnFeatures
from spatialprop.nn.segmenters.fcn8s import FCN8s
from spatialprop.nn.segmenters.frontend import Context, FrontEnd
from spatialprop.nn.segmenters.highres import HighRes
from spatialprop.nn.segmenters.probabilities import coarse_probabilities
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
    "coarse_probabilities",
]
