"""The convolutions of ResNet-101 at an output stride of 8, in torchvision's layout."""

from torch import Tensor, nn
from torch.nn import functional as F

BLOCKS = (3, 4, 23, 3)
_EXPANSION = 4


class ResNet101Trunk(nn.Module):
    """ResNet-101 without its classifier, the last two stages dilated by 2 and 4 in place of striding.

    As in the ResNet of the DeepLab authors, a bottleneck strides in its first 1 x 1 convolution. torchvision's strides
    in the 3 x 3 one, which concerns one bottleneck here: its weights fit, and fine-tuning has that to get used to.

    42,500,160 parameters at a width of 64: torchvision's 44,549,160 without its last layer's 2,049,000.

    Args:
        width: Channels of the first convolution, 64 in ResNet-101; all others follow.
        train_statistics: Let batch norm learn its statistics in training. By default it keeps those that came with the
            weights, as the published DeepLab does: batches are small.

    Example:
        >>> import torch
        >>> ResNet101Trunk(width=1)(torch.rand(1, 3, 65, 33)).shape
        torch.Size([1, 32, 9, 5])
    """

    def __init__(self, width: int = 64, *, train_statistics: bool = False) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width must be at least 1; got {width}")
        self.train_statistics = train_statistics
        self.conv1 = _conv(3, width, 7, stride=2, padding=3)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, BLOCKS[0])
        self.layer2 = _stage(width * 4, width * 2, BLOCKS[1], stride=2)
        self.layer3 = _stage(width * 8, width * 4, BLOCKS[2], dilation=2)
        self.layer4 = _stage(width * 16, width * 8, BLOCKS[3], dilation=4)
        self.out_channels = width * 32

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        features: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return features

    def train(self, mode: bool = True) -> "ResNet101Trunk":
        """Switch to training, in which batch norm goes on with its frozen statistics unless asked otherwise."""
        super().train(mode)
        if not self.train_statistics:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self


class _Bottleneck(nn.Module):
    def __init__(self, before: int, middle: int, *, stride: int, dilation: int, project: bool) -> None:
        super().__init__()
        after = middle * _EXPANSION
        self.conv1 = _conv(before, middle, 1, stride=stride)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = _conv(middle, middle, 3, padding=dilation, dilation=dilation)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = _conv(middle, after, 1)
        self.bn3 = nn.BatchNorm2d(after)
        self.downsample = (
            nn.Sequential(_conv(before, after, 1, stride=stride), nn.BatchNorm2d(after)) if project else nn.Identity()
        )
        # A tenth of each branch at first: 33 full ones add up to very large maps while the statistics are untrained.
        nn.init.constant_(self.bn3.weight, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        branch = F.relu(self.bn1(self.conv1(x)))
        branch = F.relu(self.bn2(self.conv2(branch)))
        return F.relu(self.bn3(self.conv3(branch)) + self.downsample(x))


def _stage(before: int, middle: int, blocks: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    first = _Bottleneck(before, middle, stride=stride, dilation=dilation, project=True)
    after = middle * _EXPANSION
    rest = (_Bottleneck(after, middle, stride=1, dilation=dilation, project=False) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


def _conv(before: int, after: int, kernel: int, *, stride: int = 1, padding: int = 0, dilation: int = 1) -> nn.Conv2d:
    layer = nn.Conv2d(before, after, kernel, stride=stride, padding=padding, dilation=dilation, bias=False)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return layer


def _published_layers() -> dict[str, tuple[str, str]]:
    """The layers of kazuto1011/deeplab-pytorch to ours, as a convolution and its batch norm."""
    layers = {"layer1.conv1": ("conv1", "bn1")}
    for stage, blocks in enumerate(BLOCKS, start=1):
        for block in range(blocks):
            ours = f"layer{stage}.{block}"
            for number, name in enumerate(("reduce", "conv3x3", "increase"), start=1):
                layers[f"layer{stage + 1}.block{block + 1}.{name}"] = (f"{ours}.conv{number}", f"{ours}.bn{number}")
        layers[f"layer{stage + 1}.block1.shortcut"] = (f"layer{stage}.0.downsample.0", f"layer{stage}.0.downsample.1")
    return layers


def _key_map(convolutions: dict[str, str], norms: dict[str, str]) -> dict[str, str | None]:
    weights: dict[str, str | None] = {f"{name}.weight": f"trunk.{ours}.weight" for name, ours in convolutions.items()}
    parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return weights | {f"{name}.{part}": f"trunk.{ours}.{part}" for name, ours in norms.items() for part in parts}


def torchvision_key_map() -> dict[str, str | None]:
    """torchvision's ResNet-101 into `trunk`."""
    layers = _published_layers().values()
    key_map = _key_map({conv: conv for conv, _ in layers}, {norm: norm for _, norm in layers})
    return key_map | {"fc.weight": None, "fc.bias": None}


def deeplab_key_map() -> dict[str, str | None]:
    """The ResNet-101 of kazuto1011/deeplab-pytorch into `trunk`: the DeepLab authors' weights, converted from Caffe."""
    layers = _published_layers().items()
    return _key_map(
        {f"base.{name}.conv": conv for name, (conv, _) in layers},
        {f"base.{name}.bn": norm for name, (_, norm) in layers},
    )


def caffe_key_map() -> dict[str, str | None]:
    """The ResNet-101 of the DeepLab authors' Caffe model into `trunk`; its batch norm is two layers, bn and scale."""
    units = {"conv1": ("conv1", "bn1")}  # Caffe's conv1 has bn_conv1, its res2a_branch1 has bn2a_branch1
    for stage, blocks in enumerate(BLOCKS, start=1):
        for block in range(blocks):
            letter = "abc"[block] if blocks == 3 else f"b{block}" if block else "a"
            ours, theirs = f"layer{stage}.{block}", f"{stage + 1}{letter}_branch"
            if block == 0:
                units[f"{theirs}1"] = (f"{ours}.downsample.0", f"{ours}.downsample.1")
            for number, branch in enumerate("abc", start=1):
                units[f"{theirs}2{branch}"] = (f"{ours}.conv{number}", f"{ours}.bn{number}")
    key_map: dict[str, str | None] = {}
    for name, (conv, norm) in units.items():
        convolution, unit = (name, f"_{name}") if name == "conv1" else (f"res{name}", name)
        key_map[f"{convolution}.weight"] = f"trunk.{conv}.weight"
        key_map |= {f"bn{unit}.{part}": f"trunk.{norm}.{part}" for part in ("running_mean", "running_var")}
        key_map |= {f"scale{unit}.{part}": f"trunk.{norm}.{part}" for part in ("weight", "bias")}
    return key_map
