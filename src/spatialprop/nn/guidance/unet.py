"""The guidance network of the paper's face parsing: a U-Net of plain convolutions."""

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from spatialprop.nn.resize import pad_to_multiple

STRIDE = 2


class UNetGuidance(nn.Module):
    """Five conv + relu + max-pool stages and a symmetric way up to half the image's resolution.

    Channels double from `width` on; skip links are summed, and enlarging is bilinear. A patch of 128 pixels gives
    guidance of 64 x 64, which is 384 channels for the paper's propagation: 32 maps, 4 directions, 3 connections.
    3,246,752 parameters with 384 channels.

    Args:
        out_channels: Channels of guidance.
        in_channels: Channels of the image and of the hints stacked on it.
        width: Channels of the first stage; 32 in the paper.

    Example:
        >>> import torch
        >>> UNetGuidance(384)(torch.rand(1, 3, 128, 128)).shape
        torch.Size([1, 384, 64, 64])
    """

    stride = STRIDE

    def __init__(self, out_channels: int, *, in_channels: int = 3, width: int = 32) -> None:
        super().__init__()
        widths = [width * 2**stage for stage in range(5)]  # 32, 64, 128, 256, 512
        self.down = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1)
            for before, after in zip([in_channels, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(nn.Conv2d(widths[stage], widths[stage - 1], 3, padding=1) for stage in range(4, 0, -1))
        self.head = nn.Conv2d(width, out_channels, 3, padding=1)
        for convolution in (*self.down, *self.up):
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            nn.init.zeros_(cast(Tensor, convolution.bias))
        # Small gates at first: propagation starts as the identity and learns where to leave it.
        nn.init.normal_(self.head.weight, std=1e-3)
        nn.init.zeros_(cast(Tensor, self.head.bias))

    def forward(self, image: Tensor) -> Tensor:
        """Guidance (N, out_channels, ceil(H / 2), ceil(W / 2)) for `image` (N, in_channels, H, W), RGB from 0 to 1."""
        height, width = image.shape[-2:]
        x = pad_to_multiple(image - 0.5, 32)
        skips = []
        for convolution in self.down:
            x = F.max_pool2d(F.relu(convolution(x)), 2)
            skips.append(x)
        skips.pop()  # the bottom itself
        for convolution in self.up:
            skip = skips.pop()
            x = F.interpolate(F.relu(convolution(x)), size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = x + skip
        guidance: Tensor = self.head(x)
        return guidance[..., : -(-height // STRIDE), : -(-width // STRIDE)]
