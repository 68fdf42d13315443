"""A guidance network of levelled residual blocks, for full convolutions at half the resolution."""

from collections.abc import Sequence

from torch import Tensor, nn

from spatialprop.nn.resize import pad_to_multiple, unshuffled
from spatialprop.nn.trusting import GuidanceNetwork

STRIDE = 2


class ResidualGuidance(nn.Module):
    """A U-Net of residual blocks, each of which is shown its input at one level; it needs no batch statistics.

    631,416 parameters with 24 channels.

    Args:
        out_channels: Channels of guidance.
        in_channels: Channels of the image and of whatever is stacked on it.
        widths: Channels at 1/2, 1/4, 1/8 ... of the resolution.
        depths: Residual blocks at each of them, on the way down.

    Example:
        >>> import torch
        >>> ResidualGuidance(12)(torch.rand(1, 3, 100, 75)).shape
        torch.Size([1, 12, 50, 38])
    """

    stride = STRIDE

    def __init__(
        self,
        out_channels: int,
        *,
        in_channels: int = 3,
        widths: Sequence[int] = (32, 32, 48, 64, 96),
        depths: Sequence[int] = (0, 1, 2, 2, 1),
    ) -> None:
        super().__init__()
        if len(widths) != len(depths) or len(widths) < 2:
            raise ValueError(f"widths and depths must be as many, at least 2; got {list(widths)} and {list(depths)}")
        self.widths, self.depths = tuple(widths), tuple(depths)
        self.network = GuidanceNetwork(STRIDE**2 * in_channels, 0, out_channels, self.widths, self.depths)

    def forward(self, image: Tensor) -> Tensor:
        """Guidance (N, out_channels, ceil(H / 2), ceil(W / 2)) for `image` (N, in_channels, H, W), from 0 to 1."""
        height, width = image.shape[-2:]
        pixels = unshuffled(pad_to_multiple(image - 0.5, 2 ** len(self.widths)), STRIDE)
        guidance: Tensor = self.network(pixels, pixels[:, :0])
        return guidance[..., : -(-height // STRIDE), : -(-width // STRIDE)]
