"""FCN-8s: the fully convolutional VGG-16 whose coarse scores are summed with those of two finer layers."""

import os

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spatialprop.nn.published import load_weights
from spatialprop.nn.segmenters.cells import cells, read_at_cells
from spatialprop.nn.segmenters.pixels import CaffeColours
from spatialprop.nn.segmenters.vgg import (
    POOL3,
    POOL4,
    caffe_names,
    conv,
    score,
    torchvision_key_map,
    vgg16_trunk,
    weight_and_bias,
)

_MARGIN = 96  # three cells of pool5, which the 7 x 7 convolution of fc6 consumes

PUBLISHED = weight_and_bias(
    caffe_names() | {name: name for name in ("fc6", "fc7", "score_fr", "score_pool4", "score_pool3")}
) | {
    "upscore2.weight": "upscore2.weight",
    "upscore_pool4.weight": "upscore_pool4.weight",
    "upscore8.weight": None,  # fixed bilinear upsampling: left to whoever takes the scores
}
"""The names of voc-fcn8s, in Caffe and in pytorch-fcn."""

AT_ONCE = PUBLISHED | {"scale_pool4.weight": None, "scale_pool3.weight": None}
"""Those of voc-fcn8s-atonce; pytorch-fcn has no names for the two fixed factors."""

IMAGENET = torchvision_key_map(fc6="fc6", fc7="fc7")


class FCN8s(nn.Module):
    """Segment an image with FCN-8s on VGG-16, summing scores as the published network does.

    The published network pads the image with 100 pixels, because its 7 x 7 convolution fc6 does not pad, and crops the
    odd offsets away afterwards. Here it is 96 + 1 pixels: three whole cells of 32 pixels, just what fc6 takes away. The
    weights see borders like those that they were trained with, and the cells tile the image, which the published ones
    miss by 3 pixels. The price is the same: a patch of 128 pixels is computed as 320.

    134,376,863 parameters with 21 classes: VGG-16 without its last layer (138,357,544 - 4,097,000, torchvision's
    counts), three 1 x 1 scores (4096, 512 and 256 times 21, and 21 each) and two 21 x 21 x 4 x 4 upsamplings, which
    start as bilinear. The paper of FCN gives 134 million.

    Args:
        num_classes: Number of classes K.
        width: Channels of the first block, 64 in VGG-16; all others follow.
        at_once: Score a hundredth of pool4 and a ten-thousandth of pool3, as the published network does that was
            trained from VGG-16 in one go (voc-fcn8s-atonce). Its weights need it, those of voc-fcn8s, which was trained
            in stages, must not have it, and in PyTorch both have the same names.
        weights: A file or an address (see `load_weights`) of the published network, of torchvision's VGG-16, or of an
            `FCN8s`: its names tell which.

    Example:
        >>> import torch
        >>> FCN8s(21, width=1)(torch.rand(1, 3, 47, 63)).shape
        torch.Size([1, 21, 6, 8])
    """

    stride = 8
    feature_stride = 32

    def __init__(
        self, num_classes: int, *, width: int = 64, at_once: bool = False, weights: str | os.PathLike[str] | None = None
    ) -> None:
        super().__init__()
        self.feature_channels = 8 * width
        self.pool4_factor, self.pool3_factor = (0.01, 0.0001) if at_once else (1.0, 1.0)
        self.colours = CaffeColours((104.00699, 116.66877, 122.67892))
        self.trunk = vgg16_trunk(width)
        self.colours.adopt(self.trunk[0])
        self.fc6 = conv(8 * width, 64 * width, 7)
        self.fc7 = conv(64 * width, 64 * width, 1)
        self.score_fr = score(64 * width, num_classes)
        self.score_pool4 = score(8 * width, num_classes)
        self.score_pool3 = score(4 * width, num_classes)
        self.upscore2 = _bilinear(num_classes)
        self.upscore_pool4 = _bilinear(num_classes)
        self.dropout = nn.Dropout()
        published = AT_ONCE if at_once else PUBLISHED
        if weights is not None and load_weights(self, weights, (published, IMAGENET)) is IMAGENET:
            self.colours.adopt(self.trunk[0])

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, K, ceil(H / 8), ceil(W / 8)) of RGB images (N, 3, H, W) from 0 to 1."""
        return self.forward_with_features(image)[0]

    def forward_with_features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The logits, and what pool5 gives (N, feature_channels, ceil(H / 32), ceil(W / 32))."""
        height, width = image.shape[-2:]
        x = F.pad(self.colours(image), (_MARGIN, _MARGIN + -width % 32, _MARGIN, _MARGIN + -height % 32))
        pool3 = self.trunk[: POOL3 + 1](x)
        pool4 = self.trunk[POOL3 + 1 : POOL4 + 1](pool3)
        pool5 = self.trunk[POOL4 + 1 :](pool4)
        x = self.dropout(F.relu(self.fc6(pool5)))
        x = self.dropout(F.relu(self.fc7(x)))
        finer, finest = _without_margin(pool4, 16) * self.pool4_factor, _without_margin(pool3, 8) * self.pool3_factor
        scores = self.upscore2(self.score_fr(x)) + self.score_pool4(finer)
        scores = self.upscore_pool4(scores) + self.score_pool3(finest)
        return _read(scores, image, self.stride), _read(_without_margin(pool5, 32), image, self.feature_stride)


def _without_margin(x: Tensor, stride: int) -> Tensor:
    margin = _MARGIN // stride
    return x[..., margin:-margin, margin:-margin]


def _read(x: Tensor, image: Tensor, stride: int) -> Tensor:
    size = image.shape[-2:]
    return read_at_cells(x, size, cells(size, stride), first=(stride - 1) / 2, step=stride)


def _bilinear(channels: int) -> nn.ConvTranspose2d:
    """A learned upsampling by two that starts as the bilinear one."""
    layer = nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1, bias=False)
    ramp = torch.tensor([0.25, 0.75, 0.75, 0.25])
    with torch.no_grad():
        layer.weight.copy_(torch.eye(channels)[:, :, None, None] * torch.outer(ramp, ramp))
    return layer
