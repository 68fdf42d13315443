"""A guidance network for plain CPUs."""

import itertools
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spatialprop.nn.resize import first, pad_to_multiple


class LightGuidance(nn.Module):
    """A small U-Net of depthwise separable convolutions, for gates that all channels share.

    145,516 parameters with 12 channels, at stride 2.

    Args:
        out_channels: Channels of guidance.
        in_channels: Channels of the image and of the hints stacked on it.
        width: Channels of the first stage, a multiple of 8; they grow by about a half from stage to stage.
        stages: Number of times that the resolution is halved.
        stride: Guidance comes out at this fraction of the resolution: 1, 2 or 4.

    Example:
        >>> LightGuidance(12)(torch.rand(1, 3, 100, 75)).shape
        torch.Size([1, 12, 50, 38])
    """

    def __init__(
        self, out_channels: int, *, in_channels: int = 3, width: int = 32, stages: int = 5, stride: int = 2
    ) -> None:
        super().__init__()
        if stride not in (1, 2, 4):
            raise ValueError(f"stride must be 1, 2 or 4; got {stride}")
        if stages < 3:
            raise ValueError(f"stages must be at least 3; got {stages}")
        if width < 8 or width % 8:
            raise ValueError(f"width must be a multiple of 8; got {width}")
        self.stride = stride
        self.stages = stages
        widths = [round(width * 1.5**stage / 8) * 8 for stage in range(stages)]
        self.stem = _block(in_channels, widths[0], 3, stride=2)
        self.down = nn.ModuleList(
            nn.Sequential(_separable(before, after, stride=2), _separable(after, after))
            for before, after in itertools.pairwise(widths)
        )
        finest = 1 if stride == 4 else 0  # the way up ends at this stage
        climbed = list(itertools.pairwise(widths))[finest:]
        self.narrow = nn.ModuleList(nn.Conv2d(after, before, 1) for before, after in climbed)
        self.up = nn.ModuleList(_separable(before, before) for before, _ in climbed)
        # Guidance at full resolution needs the pixels themselves again in the last step.
        self.fine = _block(in_channels, widths[0], 3) if stride == 1 else None
        self.head = nn.Conv2d(widths[finest], out_channels, 3, padding=1)
        # Small gates at first: propagation starts as the identity and learns where to leave it.
        nn.init.normal_(self.head.weight, std=1e-2)
        nn.init.zeros_(cast(Tensor, self.head.bias))
        # On a CPU, depthwise convolutions are a quarter faster in this layout, full ones slower.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor) -> Tensor:
        """Guidance at ceil(H / stride), ceil(W / stride) for `image` (N, in_channels, H, W), RGB from 0 to 1."""
        pixels = pad_to_multiple(image - 0.5, 2**self.stages)
        x = self.stem(pixels)  # half the resolution
        skips = []
        for stage in self.down:
            skips.append(x)
            x = stage(x)
        for narrow, up in zip(reversed(self.narrow), reversed(self.up), strict=True):
            x = F.interpolate(narrow(x), scale_factor=2, mode="bilinear", align_corners=False)
            x = up(x + skips.pop())
        if self.fine is not None:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False) + self.fine(pixels)
        return first(self.head(x), [(side + self.stride - 1) // self.stride for side in image.shape[-2:]])


def _block(before: int, after: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


def _separable(before: int, after: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(_block(before, before, 3, stride=stride, groups=before), _block(before, after, 1))
