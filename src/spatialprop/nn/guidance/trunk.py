"""Guidance that is read from a segmenter's features: the segmenter has looked at the image already."""

from typing import cast

from torch import Tensor, nn

from spatialprop.nn.resize import resize
from spatialprop.nn.segmenters.features import reduced

WIDTH = 32


class TrunkGuidance(nn.Module):
    """What a segmenter's features know, brought to where the edges lie by two convolutions over the image.

    Features lie 8 to 32 pixels apart: gates as far apart would take away what they are to refine. So the features are
    enlarged, and summed with a convolution that sees the image at the gates' own stride. What sharing saves is the
    deep part of a guidance network.

    Args:
        out_channels: Channels of guidance.
        feature_channels: Channels of the features.
        stride: Guidance comes out at this fraction of the image's resolution.

    Example:
        >>> import torch
        >>> TrunkGuidance(12, feature_channels=512)(torch.rand(1, 512, 4, 3), torch.rand(1, 3, 100, 75)).shape
        torch.Size([1, 12, 50, 38])
    """

    def __init__(self, out_channels: int, feature_channels: int, *, stride: int = 2) -> None:
        super().__init__()
        self.stride = stride
        self.known = reduced(feature_channels, WIDTH, kernel=3)
        self.seen = reduced(3, WIDTH, kernel=3, stride=stride)
        self.fused = reduced(WIDTH, WIDTH, kernel=3)
        self.head = nn.Conv2d(WIDTH, out_channels, 3, padding=1)
        # Small gates at first: propagation starts as the identity and learns where to leave it.
        nn.init.normal_(self.head.weight, std=1e-3)
        nn.init.zeros_(cast(Tensor, self.head.bias))

    def forward(self, features: Tensor, image: Tensor) -> Tensor:
        """Guidance (N, out_channels, ceil(H / stride), ceil(W / stride)) for `image` (N, 3, H, W) from 0 to 1."""
        seen = self.seen(image - 0.5)
        return cast(Tensor, self.head(self.fused(seen + resize(self.known(features), seen.shape[-2:]))))
