"""The definition of `choose`, in plain PyTorch."""

import torch
from torch import Tensor
from torch.nn import functional as F

STRIDE = 2  # pixels of a cell, each way
SUBPIXELS = STRIDE**2
CHOICES = 5  # the cells above left, above right, below left and below right of a pixel, and the pixel itself

# A pixel enlarged bilinearly depends on 9, 3, 3 and 1 sixteenths of the four cells around it.
_BILINEAR = [[1, 3, 3, 9], [3, 1, 9, 3], [3, 9, 1, 3], [9, 3, 3, 1]]


def first_choice() -> Tensor:
    """Logits of a choice to start training from: cells enlarged bilinearly, and the pixel itself as much as they. (20,)

    Example:
        >>> first_choice().view(SUBPIXELS, CHOICES).softmax(dim=1)[0]
        tensor([0.0312, 0.0938, 0.0938, 0.2812, 0.5000])
    """
    cells = torch.tensor(_BILINEAR).float().div(16).log()
    return torch.cat([cells, torch.zeros(SUBPIXELS, 1)], dim=1).flatten()


def choose(cells: Tensor, whole: Tensor, choice: Tensor) -> Tensor:
    """Each pixel's mixture of the four cells around it and of its own share in `whole`. (N, K, H, W)

    Args:
        cells: Probabilities (N, K, h, w); a cell is two by two pixels, those of an odd last row or column less.
        whole: Probabilities (N, K, H, W).
        choice: How much of each (N, 4, 5, h, w): for the four pixels of a cell, of the cells above left, above right,
            below left and below right, and of itself.
    """
    (rows, columns), (height, width) = cells.shape[2:], whole.shape[2:]
    framed = F.pad(cells, (1, 1, 1, 1), mode="replicate")
    whole = F.pad(whole, (0, STRIDE * columns - width, 0, STRIDE * rows - height))
    mixed = []
    for pixel in range(SUBPIXELS):
        down, across = divmod(pixel, STRIDE)
        corners = [(down + i, across + j) for i in range(2) for j in range(2)]
        parts = [framed[..., i : i + rows, j : j + columns] for i, j in corners]
        parts.append(whole[..., down::STRIDE, across::STRIDE])
        weighted = [part * choice[:, pixel, place, None] for place, part in enumerate(parts)]
        mixed.append(torch.stack(weighted).sum(dim=0))
    return F.pixel_shuffle(torch.stack(mixed, dim=2).flatten(1, 2), STRIDE)[..., :height, :width]
