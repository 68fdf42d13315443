"""The most likely class of every pixel, of maps that are enlarged on the way and never kept."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from spatialprop.ops.choosing.naive import choose

_NONE = torch.finfo(torch.float32).min  # less likely than any class


def most_likely(
    coarse: Tensor, size: Sequence[int], cells: Tensor | None = None, choice: Tensor | None = None
) -> Tensor:
    """The class of the largest value, the first one where they tie. (N, H, W), int32

    Without `cells` the values are those of the coarse map, enlarged bilinearly; with them those of `choose`.

    Args:
        coarse: Maps (N, K, h', w') of any size; with cells also (N, H, W), for each pixel the class that has it all.
        size: H and W.
        cells, choice: See `choose`.
    """
    if coarse.device.type == "cpu" and coarse.dtype in (torch.float32, torch.int32):
        from spatialprop.ops.choosing.cpu import launch  # Numba takes half a second to import

        return launch.most_likely(coarse, size, cells, choice)
    best = torch.full((len(coarse), *size), _NONE, device=coarse.device)
    labels = torch.zeros((len(coarse), *size), dtype=torch.int32, device=coarse.device)
    for k in range(coarse.shape[1] if cells is None else cells.shape[1]):  # all at once may not fit into memory
        values = (coarse == k)[:, None].float() if coarse.dim() == 3 else coarse[:, k, None]
        if tuple(values.shape[2:]) != tuple(size):
            values = F.interpolate(values, size=tuple(size), mode="bilinear", align_corners=False)
        if cells is not None and choice is not None:
            values = choose(cells[:, k, None], values, choice)
        labels.masked_fill_(values[:, 0] > best, k)
        best = torch.maximum(best, values[:, 0])
    return labels
