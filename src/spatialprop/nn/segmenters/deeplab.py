"""DeepLab v2 with ASPP-L: four dilated views of the last features, at an eighth of the resolution."""

import os

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spatialprop.nn.published import load_weights
from spatialprop.nn.segmenters import resnet, vgg
from spatialprop.nn.segmenters.cells import cells, read_at_cells
from spatialprop.nn.segmenters.pixels import CaffeColours

DILATIONS = (6, 12, 18, 24)  # ASPP-L
SCALES = (1.0, 0.75, 0.5)

_STRIDE = 8
_MEAN_BGR = (104.008, 116.669, 122.675)
# Poolings of 3 x 3 put sample i on pixel 8 i, not amid a cell of 8 pixels: four pixels in front bring it within half a
# pixel of there, and reading at the cells does the rest.
_IN_FRONT = 4


VGG_PUBLISHED = vgg.weight_and_bias(
    vgg.caffe_names()
    | {
        f"{layer}_{branch + 1}": f"{target}.{branch}"
        for branch in range(len(DILATIONS))
        for layer, target in (("fc6", "fc6"), ("fc7", "fc7"), ("fc8_voc12", "fc8"))
    }
)
"""Caffe's names of DeepLab v2 on VGG-16."""

VGG_IMAGENET = vgg.torchvision_key_map()

RESNET_PUBLISHED = resnet.deeplab_key_map() | vgg.weight_and_bias(
    {f"base.aspp.c{branch}": f"aspp.{branch}" for branch in range(len(DILATIONS))}
)
"""The names of kazuto1011/deeplab-pytorch."""

RESNET_CAFFE = resnet.caffe_key_map() | vgg.weight_and_bias(
    {f"fc1_voc12_c{branch}": f"aspp.{branch}" for branch in range(len(DILATIONS))}
)
"""Caffe's names of DeepLab v2 on ResNet-101."""

RESNET_IMAGENET = resnet.torchvision_key_map()


def _frame(x: Tensor) -> Tensor:
    """Pad to a size 8 k + 1, which every stride of two takes evenly, with samples beyond the last cell."""
    height, width = (_STRIDE * (count + 1) + 1 for count in cells(x.shape[-2:], _STRIDE))
    return F.pad(x, (_IN_FRONT, width - _IN_FRONT - x.shape[-1], _IN_FRONT, height - _IN_FRONT - x.shape[-2]))


def _read(x: Tensor, size: tuple[int, ...], count: tuple[int, ...]) -> Tensor:
    return read_at_cells(x, size, count, first=-_IN_FRONT, step=_STRIDE)


class DeepLabVGG(nn.Module):
    """Segment an image with DeepLab v2 on VGG-16, with the four branches of ASPP-L summed.

    37,877,652 parameters with 21 classes: VGG-16's convolutions (14,714,688, torchvision's count) and four branches of
    a 3 x 3 convolution to 1024 channels, a 1 x 1 to 1024 and a 1 x 1 to the classes, the shapes of the authors' model.

    Args:
        num_classes: Number of classes K.
        width: Channels of the first block, 64 in VGG-16; all others follow.
        weights: A file or an address (see `load_weights`) of the published network under Caffe's names, of
            torchvision's VGG-16, which fills the trunk, or of a `DeepLabVGG`: its names tell which.

    Example:
        >>> import torch
        >>> DeepLabVGG(21, width=1)(torch.rand(1, 3, 47, 63)).shape
        torch.Size([1, 21, 6, 8])
    """

    stride = feature_stride = _STRIDE

    def __init__(self, num_classes: int, *, width: int = 64, weights: str | os.PathLike[str] | None = None) -> None:
        super().__init__()
        self.feature_channels = 8 * width
        self.colours = CaffeColours(_MEAN_BGR)
        halving, keeping = (2, 2, 2), (1, 1)
        pools = [nn.MaxPool2d(3, stride=stride, padding=1) for stride in halving + keeping]
        self.trunk = vgg.vgg16_trunk(width, pools=pools, last_dilation=2)
        self.colours.adopt(self.trunk[0])
        self.fc6 = nn.ModuleList(
            vgg.conv(8 * width, 16 * width, 3, padding=dilation, dilation=dilation) for dilation in DILATIONS
        )
        self.fc7 = nn.ModuleList(vgg.conv(16 * width, 16 * width, 1) for _ in DILATIONS)
        self.fc8 = nn.ModuleList(vgg.score(16 * width, num_classes) for _ in DILATIONS)
        self.dropout = nn.Dropout()
        if weights is not None and load_weights(self, weights, (VGG_PUBLISHED, VGG_IMAGENET)) is VGG_IMAGENET:
            self.colours.adopt(self.trunk[0])

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, K, ceil(H / 8), ceil(W / 8)) of RGB images (N, 3, H, W) from 0 to 1."""
        return self.forward_with_features(image)[0]

    def forward_with_features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The logits, and the input of the branches (N, feature_channels, ceil(H / 8), ceil(W / 8))."""
        features = self.trunk(_frame(self.colours(image)))
        branches = []
        for fc6, fc7, fc8 in zip(self.fc6, self.fc7, self.fc8, strict=True):
            x = self.dropout(F.relu(fc6(features)))
            x = self.dropout(F.relu(fc7(x)))
            branches.append(fc8(x))
        size = image.shape[-2:]
        count = cells(size, _STRIDE)
        return _read(torch.stack(branches).sum(0), size, count), _read(features, size, count)


class DeepLabResNet101(nn.Module):
    """Segment an image with DeepLab v2 on ResNet-101, at three scales of the image at once.

    The logits are the greatest of those at 1, 0.75 and 0.5 times the image's size, in training too, as in the paper of
    DeepLab. Images shrink and logits grow bilinearly.

    44,048,532 parameters with 21 classes: the trunk (42,500,160, see `ResNet101Trunk`) and four 3 x 3 convolutions from
    2048 channels to the classes.

    Args:
        num_classes: Number of classes K.
        width: Channels of the first convolution, 64 in ResNet-101; all others follow.
        train_statistics: Let batch norm learn its statistics in training, instead of keeping those of the weights.
        weights: A file or an address (see `load_weights`) of the published network under the names of Caffe or of
            kazuto1011/deeplab-pytorch, of torchvision's ResNet-101, which fills the trunk, or of a `DeepLabResNet101`:
            its names tell.

    Example:
        >>> import torch
        >>> DeepLabResNet101(21, width=1)(torch.rand(1, 3, 47, 63)).shape
        torch.Size([1, 21, 6, 8])
    """

    stride = feature_stride = _STRIDE

    def __init__(
        self,
        num_classes: int,
        *,
        width: int = 64,
        train_statistics: bool = False,
        weights: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        self.colours = CaffeColours(_MEAN_BGR)
        self.trunk = resnet.ResNet101Trunk(width, train_statistics=train_statistics)
        self.colours.adopt(self.trunk.conv1, self.trunk.bn1)
        self.feature_channels = self.trunk.out_channels
        self.aspp = nn.ModuleList(
            vgg.score(self.feature_channels, num_classes, 3, padding=dilation, dilation=dilation)
            for dilation in DILATIONS
        )
        key_maps = (RESNET_PUBLISHED, RESNET_CAFFE, RESNET_IMAGENET)
        if weights is not None and load_weights(self, weights, key_maps) is RESNET_IMAGENET:
            self.colours.adopt(self.trunk.conv1, self.trunk.bn1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, K, ceil(H / 8), ceil(W / 8)) of RGB images (N, 3, H, W) from 0 to 1."""
        return self.forward_with_features(image)[0]

    def forward_with_features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The logits, and the input of the branches at full scale (N, feature_channels, ceil(H / 8), ceil(W / 8))."""
        pixels = self.colours(image)
        views = [self._at_scale(pixels, scale) for scale in SCALES]
        logits = torch.stack([scores for scores, _ in views]).amax(0)
        return logits, views[0][1]

    def _at_scale(self, pixels: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """Logits and features at the cells of the unscaled image."""
        count = cells(pixels.shape[-2:], _STRIDE)
        if scale != 1:
            size = [max(1, int(side * scale)) for side in pixels.shape[-2:]]
            pixels = F.interpolate(pixels, size=size, mode="bilinear", align_corners=False)
        features = self.trunk(_frame(pixels))
        scores = torch.stack([branch(features) for branch in self.aspp]).sum(0)
        return _read(scores, pixels.shape[-2:], count), _read(features, pixels.shape[-2:], count)
