"""The dilated VGG-16 of Yu and Koltun, and the context module on top of its scores."""

import os

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spatialprop.nn.published import load_weights
from spatialprop.nn.segmenters.cells import cells, read_at_cells
from spatialprop.nn.segmenters.pixels import CaffeColours
from spatialprop.nn.segmenters.vgg import caffe_names, conv, score, torchvision_key_map, vgg16_trunk, weight_and_bias

_STRIDE = 8
_MARGIN = 186  # what unpadded convolutions take away on each side, and the three pixels to the middle of a cell
_FC6_MARGIN = 12  # of that, in cells: what fc6 takes away

# The large context module: name, channels as multiples of the classes, dilation.
_CONTEXT = (
    ("ct_conv1_1", 2, 1),
    ("ct_conv1_2", 2, 1),
    ("ct_conv2_1", 4, 2),
    ("ct_conv3_1", 8, 4),
    ("ct_conv4_1", 16, 8),
    ("ct_conv5_1", 32, 16),
    ("ct_fc1", 32, 1),
)
_CONTEXT_MARGIN = sum(dilation for _, _, dilation in _CONTEXT)  # 33 cells


def _front_end_names(prefix: str = "") -> dict[str, str]:
    layers = caffe_names("trunk") | {"fc6": "fc6", "fc7": "fc7", "fc-final": "final"}
    return {name: prefix + target for name, target in layers.items()}


def _context_names() -> dict[str, str]:
    names = [name for name, _, _ in _CONTEXT] + ["ct_final"]
    return {name: f"context.{2 * place}" for place, name in enumerate(names)}


FRONT_END_PUBLISHED = weight_and_bias(_front_end_names())
"""Caffe's names of the front end of fyu/dilation."""

FRONT_END_OF_CONTEXT: dict[str, str | None] = FRONT_END_PUBLISHED | dict.fromkeys(weight_and_bias(_context_names()))
"""Those of dilation8_pascal_voc, the file in which the front end was published: the context module is left out."""

FRONT_END_IMAGENET = torchvision_key_map("trunk", "fc6", "fc7")

CONTEXT_PUBLISHED = weight_and_bias(_front_end_names("front_end.") | _context_names())
"""Caffe's names of dilation8_pascal_voc, of fyu/dilation."""

CONTEXT_FRONT_END = weight_and_bias(_front_end_names("front_end."))
CONTEXT_IMAGENET = torchvision_key_map("front_end.trunk", "front_end.fc6", "front_end.fc7")


class FrontEnd(nn.Module):
    """Segment an image with the front end: VGG-16 without its last two poolings, dilated in their place.

    As published, no convolution pads; the image is reflected at its borders instead, by 186 pixels.

    134,346,581 parameters with 21 classes: VGG-16 without its last layer (138,357,544 - 4,097,000, torchvision's
    counts) and 4097 for the score of each class.

    Args:
        num_classes: Number of classes K.
        width: Channels of the first block, 64 in VGG-16; all others follow.
        weights: A file or an address (see `load_weights`) of the published front end under Caffe's names, alone or
            with the context module, of torchvision's VGG-16, or of a `FrontEnd`: its names tell which.

    Example:
        >>> import torch
        >>> FrontEnd(21, width=1)(torch.rand(1, 3, 47, 63)).shape
        torch.Size([1, 21, 6, 8])
    """

    stride = feature_stride = _STRIDE

    def __init__(self, num_classes: int, *, width: int = 64, weights: str | os.PathLike[str] | None = None) -> None:
        super().__init__()
        self.feature_channels = 8 * width
        self.colours = CaffeColours((102.93, 111.36, 116.52))
        pools = [*(nn.MaxPool2d(2) for _ in range(3)), nn.Identity(), nn.Identity()]
        self.trunk = vgg16_trunk(width, pools=pools, padding=False, last_dilation=2)
        self.colours.adopt(self.trunk[0])
        self.fc6 = conv(8 * width, 64 * width, 7, dilation=4)
        self.fc7 = conv(64 * width, 64 * width, 1)
        self.final = score(64 * width, num_classes)
        self.dropout = nn.Dropout()
        key_maps = (FRONT_END_PUBLISHED, FRONT_END_OF_CONTEXT, FRONT_END_IMAGENET)
        if weights is not None and load_weights(self, weights, key_maps) is FRONT_END_IMAGENET:
            self.colours.adopt(self.trunk[0])

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, K, ceil(H / 8), ceil(W / 8)) of RGB images (N, 3, H, W) from 0 to 1."""
        return self.forward_with_features(image)[0]

    def forward_with_features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The logits, and what fc6 looks at (N, feature_channels, ceil(H / 8), ceil(W / 8))."""
        scores, features = self.whole_cells(image)
        return _read(scores, image), _read(features, image)

    def whole_cells(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and features of cells of 8 x 8 pixels, the last of which may lie partly outside the image."""
        features = self.trunk(self._framed(image))
        x = self.dropout(F.relu(self.fc6(features)))
        x = self.dropout(F.relu(self.fc7(x)))
        inside = slice(_FC6_MARGIN, -_FC6_MARGIN)
        return self.final(x), features[..., inside, inside]

    def _framed(self, image: Tensor) -> Tensor:
        x: Tensor = self.colours(image)
        rows, columns = (_reflected(side, _MARGIN, _MARGIN + -side % _STRIDE).to(x.device) for side in x.shape[-2:])
        return x.index_select(2, rows).index_select(3, columns)


class Context(nn.Module):
    """Segment an image with the front end and the large context module, which starts as the identity.

    The module looks at the scores of the front end through dilations up to 16, with more and more channels. As
    published it pads once, by the 33 cells that its layers take away. Initialised as in its paper, it hands on the
    positive part of each score, plus a little noise: without it, channels that stand for one class would stay equal.

    141,149,720 parameters with 21 classes: the front end (134,346,581) and the module (6,803,139, the channels of the
    published model).

    Args:
        num_classes: Number of classes K.
        width: See `FrontEnd`.
        weights: A file or an address (see `load_weights`) of the published network under Caffe's names, of the
            published front end, of torchvision's VGG-16, or of a `Context`: its names tell which.

    Example:
        >>> import torch
        >>> Context(21, width=1)(torch.rand(1, 3, 47, 63)).shape
        torch.Size([1, 21, 6, 8])
    """

    stride = feature_stride = _STRIDE

    def __init__(self, num_classes: int, *, width: int = 64, weights: str | os.PathLike[str] | None = None) -> None:
        super().__init__()
        self.front_end = FrontEnd(num_classes, width=width)
        self.feature_channels = self.front_end.feature_channels
        layers: list[nn.Module] = []
        before = num_classes
        for _, multiple, dilation in _CONTEXT:
            layers += [_identity(before, num_classes * multiple, num_classes, 3, dilation), nn.ReLU()]
            before = num_classes * multiple
        self.context = nn.Sequential(*layers, _identity(before, num_classes, num_classes, 1, 1))
        key_maps = (CONTEXT_PUBLISHED, CONTEXT_FRONT_END, CONTEXT_IMAGENET)
        if weights is not None and load_weights(self, weights, key_maps) is CONTEXT_IMAGENET:
            self.front_end.colours.adopt(self.front_end.trunk[0])

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, K, ceil(H / 8), ceil(W / 8)) of RGB images (N, 3, H, W) from 0 to 1."""
        return self.forward_with_features(image)[0]

    def forward_with_features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The logits, and the features of the front end (N, feature_channels, ceil(H / 8), ceil(W / 8))."""
        scores, features = self.front_end.whole_cells(image)
        logits = self.context(F.pad(scores, (_CONTEXT_MARGIN,) * 4))
        return _read(logits, image), _read(features, image)


def _read(scores: Tensor, image: Tensor) -> Tensor:
    size = image.shape[-2:]
    return read_at_cells(scores, size, cells(size, _STRIDE), first=(_STRIDE - 1) / 2, step=_STRIDE)


def _reflected(side: int, before: int, after: int) -> Tensor:
    """Which pixels to take to mirror a side, without repeating the outermost, as often as it takes."""
    period = max(2 * (side - 1), 1)
    position = torch.arange(-before, side + after).remainder(period)
    return torch.minimum(position, period - position)


@torch.no_grad()
def _identity(before: int, after: int, num_classes: int, kernel: int, dilation: int) -> nn.Conv2d:
    """A convolution that starts as the sum over the channels of each class, with a little noise."""
    layer = nn.Conv2d(before, after, kernel, dilation=dilation)
    nn.init.normal_(layer.weight, std=0.01 * num_classes / after)
    class_before = torch.arange(before) * num_classes // before
    class_after = torch.arange(after) * num_classes // after
    same_class = class_after[:, None] == class_before
    layer.weight[..., kernel // 2, kernel // 2] += same_class * (num_classes / after)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
