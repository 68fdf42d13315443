"""Images of any size through networks that halve them several times."""

from torch import Tensor
from torch.nn import functional as F


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column of `image` (N, C, H, W) until both sides divide.

    Example:
        >>> import torch
        >>> pad_to_multiple(torch.zeros(1, 3, 30, 64), 32).shape
        torch.Size([1, 3, 32, 64])
    """
    height, width = image.shape[-2:]
    missing = (0, -width % multiple, 0, -height % multiple)
    return F.pad(image, missing, mode="replicate") if any(missing) else image
