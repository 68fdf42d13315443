"""Maps and images at other sizes."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Bring maps (N, C, h, w) to `size` (H, W), bilinear between half-pixel centres, without aliasing."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    shrinks = size[0] < maps.shape[-2] or size[1] < maps.shape[-1]
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False, antialias=shrinks)


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column of `image` (N, C, H, W) until `multiple` divides both sides.

    Example:
        >>> import torch
        >>> pad_to_multiple(torch.zeros(1, 3, 30, 64), 32).shape
        torch.Size([1, 3, 32, 64])
    """
    height, width = image.shape[-2:]
    missing = (0, -width % multiple, 0, -height % multiple)
    return F.pad(image, missing, mode="replicate") if any(missing) else image
