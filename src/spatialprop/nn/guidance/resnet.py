"""A guidance network on the trunk of ResNet-18 or ResNet-50, with a way up again."""

import os
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spatialprop.nn.guidance.inputs import Colours, weights_for
from spatialprop.nn.published import load_weights
from spatialprop.nn.resize import pad_to_multiple

STRIDE = 2
BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}


class ResNetGuidance(nn.Module):
    """ResNet down to a thirty-second of the resolution and a way up to a half.

    Each step up is a 1 x 1 convolution, bilinear upsampling and the sum with the features of that size, which another
    1 x 1 convolution brings to as many channels; the guidance sees them after a 3 x 3 convolution. Batch norm keeps the
    statistics that came with the weights, if any did: batches are small.

    11,297,496 parameters with 24 channels for ResNet-18, 23,813,336 for ResNet-50, of which the trunk's are 11,176,512
    and 23,508,032, torchvision's counts without the classifier.

    Args:
        out_channels: Channels of guidance.
        in_channels: Channels of the image and of whatever is stacked on it. Of published weights the first three see
            RGB; one or two see brightness; further ones start from nothing.
        depth: 18 or 50.
        width: Channels of the first convolution, 64 in ResNet; all others follow.
        weights: A file or an address (see `load_weights`) of torchvision's ResNet of that depth, or of a
            `ResNetGuidance`: its names tell which.

    Example:
        >>> ResNetGuidance(24, width=4)(torch.rand(1, 3, 100, 75)).shape
        torch.Size([1, 24, 50, 38])
    """

    stride = STRIDE

    def __init__(
        self,
        out_channels: int,
        *,
        in_channels: int = 3,
        depth: int = 18,
        width: int = 64,
        weights: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise ValueError(f"depth must be one of {', '.join(map(str, BLOCKS))}; got {depth}")
        self.colours = Colours(in_channels)
        self.trunk = ResNetTrunk(depth, width, in_channels)
        self.keep_statistics = weights is not None
        found = self.trunk.channels
        self.side = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in found)
        self.up = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in found[1:])
        self.fine = nn.Conv2d(width, width, 3, padding=1)
        self.head = nn.Conv2d(width, out_channels, 1)
        # Small gates at first: propagation starts as the identity and learns where to leave it.
        nn.init.normal_(self.head.weight, std=1e-2)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        if weights is not None:
            with weights_for(self.trunk.conv1, in_channels):
                load_weights(self, weights, [torchvision_key_map(depth)])

    def forward(self, image: Tensor) -> Tensor:
        """Guidance (N, out_channels, ceil(H / 2), ceil(W / 2)) for `image` (N, in_channels, H, W), from 0 to 1."""
        height, width = image.shape[-2:]
        features = self.trunk(pad_to_multiple(self.colours(image), 32))
        levels = [side(one) for side, one in zip(self.side, features, strict=True)]
        x = levels.pop()
        for up in self.up:
            x = F.interpolate(F.relu(up(x)), scale_factor=2, mode="bilinear", align_corners=False) + levels.pop()
        guidance: Tensor = self.head(F.relu(self.fine(F.relu(x))))
        return guidance[..., : -(-height // STRIDE), : -(-width // STRIDE)]

    def train(self, mode: bool = True) -> "ResNetGuidance":
        """Switch to training, in which batch norm keeps statistics that came with weights."""
        super().train(mode)
        if self.keep_statistics:
            for module in self.trunk.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def pretrained_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that came with weights, and may learn at a rate of their own."""
        return self.trunk.parameters()


class ResNetTrunk(nn.Module):
    """The convolutions of ResNet-18 or ResNet-50 under torchvision's names; features at 1/2, 1/4 ... 1/32.

    Args:
        depth: 18 or 50.
        width: Channels of the first convolution.
        in_channels: Channels of the image.
    """

    def __init__(self, depth: int, width: int = 64, in_channels: int = 3) -> None:
        super().__init__()
        kind: type[BasicBlock | Bottleneck] = BasicBlock if depth == 18 else Bottleneck
        stages = [width * 2**stage for stage in range(4)]
        self.channels = [width, *(stage * kind.expansion for stage in stages)]
        self.conv1 = nn.Conv2d(in_channels, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        made = [
            _stage(kind, before, middle, blocks, 1 if stage == 0 else 2)
            for stage, (before, middle, blocks) in enumerate(
                zip(self.channels[:-1], stages, BLOCKS[depth], strict=True)
            )
        ]
        self.layer1, self.layer2, self.layer3, self.layer4 = made

    def forward(self, x: Tensor) -> list[Tensor]:
        """The features, finest first."""
        features = [F.relu(self.bn1(self.conv1(x)))]
        features.append(self.layer1(F.max_pool2d(features[0], 3, stride=2, padding=1)))
        for layer in (self.layer2, self.layer3, self.layer4):
            features.append(layer(features[-1]))
        return features


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a short cut."""

    expansion = 1

    def __init__(self, before: int, middle: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, middle, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.downsample = _short_cut(before, middle, stride)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(branch + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """A 3 x 3 convolution, which strides, between two of 1 x 1, and a short cut."""

    expansion = 4

    def __init__(self, before: int, middle: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, middle, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, middle * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(middle * self.expansion)
        self.downsample = _short_cut(before, middle * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        branch = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        return F.relu(self.bn3(self.conv3(branch)) + (x if self.downsample is None else self.downsample(x)))


def _short_cut(before: int, after: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and before == after:
        return None
    return nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))


def _stage(kind: type[BasicBlock | Bottleneck], before: int, middle: int, blocks: int, stride: int) -> nn.Sequential:
    after = middle * kind.expansion
    widths = pairwise([before, *[after] * blocks])
    return nn.Sequential(*(kind(first, middle, stride if place == 0 else 1) for place, (first, _) in enumerate(widths)))


def torchvision_key_map(depth: int) -> dict[str, str | None]:
    """torchvision's ResNet into `trunk`."""
    with torch.device("meta"):
        names = ResNetTrunk(depth).state_dict()
    return {name: f"trunk.{name}" for name in names} | {"fc.weight": None, "fc.bias": None}
