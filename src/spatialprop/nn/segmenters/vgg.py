"""The convolutions of VGG-16, in torchvision's layout, for everything that is built on them."""

from collections.abc import Sequence

from torch import nn

_BLOCKS = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))  # channels as multiples of the width, number of convolutions
_CONVOLUTIONS = {  # Caffe's name to the place in torchvision's `features`
    "conv1_1": 0, "conv1_2": 2,
    "conv2_1": 5, "conv2_2": 7,
    "conv3_1": 10, "conv3_2": 12, "conv3_3": 14,
    "conv4_1": 17, "conv4_2": 19, "conv4_3": 21,
    "conv5_1": 24, "conv5_2": 26, "conv5_3": 28,
}  # fmt: skip
POOL3, POOL4 = 16, 23  # places of these layers


def vgg16_trunk(
    width: int = 64, *, pools: Sequence[nn.Module] | None = None, padding: bool = True, last_dilation: int = 1
) -> nn.Sequential:
    """The 13 convolutions and 5 poolings of VGG-16, under the numbers of torchvision's `features`.

    With its 64 channels in the first block it has 14,714,688 parameters, torchvision's count.

    Args:
        width: Channels of the first block; 64 in VGG-16.
        pools: Replacements for the five 2 x 2 poolings.
        padding: Pad each convolution to keep the size; else each takes away its border.
        last_dilation: Dilation of the fifth block.

    Example:
        >>> import torch
        >>> vgg16_trunk(width=4)(torch.zeros(1, 3, 64, 96)).shape
        torch.Size([1, 32, 2, 3])
    """
    if width < 1:
        raise ValueError(f"width must be at least 1; got {width}")
    layers: list[nn.Module] = []
    before = 3
    for block, (multiple, convolutions) in enumerate(_BLOCKS):
        dilation = last_dilation if block == 4 else 1
        for _ in range(convolutions):
            after = width * multiple
            layers += [conv(before, after, 3, padding=dilation if padding else 0, dilation=dilation), nn.ReLU()]
            before = after
        layers.append(nn.MaxPool2d(2) if pools is None else pools[block])
    return nn.Sequential(*layers)


def conv(before: int, after: int, kernel: int, *, padding: int = 0, dilation: int = 1) -> nn.Conv2d:
    """A convolution that a ReLU follows, initialised to keep the variance."""
    layer = nn.Conv2d(before, after, kernel, padding=padding, dilation=dilation)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def score(before: int, num_classes: int, kernel: int = 1, *, padding: int = 0, dilation: int = 1) -> nn.Conv2d:
    """A convolution that gives scores: small at first, so that no class is ahead."""
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1; got {num_classes}")
    layer = nn.Conv2d(before, num_classes, kernel, padding=padding, dilation=dilation)
    nn.init.normal_(layer.weight, std=0.01)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def weight_and_bias(names: dict[str, str]) -> dict[str, str | None]:
    """The key map of layers that have a weight and a bias."""
    return {f"{name}.{part}": f"{target}.{part}" for name, target in names.items() for part in ("weight", "bias")}


def caffe_names(trunk: str = "trunk") -> dict[str, str]:
    """Caffe's names of the convolutions to those under `trunk`."""
    return {name: f"{trunk}.{place}" for name, place in _CONVOLUTIONS.items()}


def torchvision_key_map(trunk: str = "trunk", fc6: str | None = None, fc7: str | None = None) -> dict[str, str | None]:
    """torchvision's VGG-16 into a trunk and, where the network has them, its first two fully connected layers."""
    unused: dict[str, str | None] = {}
    for name, target in {"classifier.0": fc6, "classifier.3": fc7, "classifier.6": None}.items():
        unused |= weight_and_bias({name: target}) if target else {f"{name}.weight": None, f"{name}.bias": None}
    return weight_and_bias({f"features.{place}": f"{trunk}.{place}" for place in _CONVOLUTIONS.values()}) | unused
