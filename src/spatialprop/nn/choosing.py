"""Every pixel chooses between the cells of half the resolution around it and its own share in the coarse map."""

import torch
from torch import Tensor
from torch.nn import functional as F

STRIDE = 2  # pixels of a cell, each way
SUBPIXELS = STRIDE**2
CHOICES = 5  # the cells above left, above right, below left and below right of a pixel, and the pixel itself


def choose(cells: Tensor, whole: Tensor, choice: Tensor) -> Tensor:
    """Each pixel's mixture of the four cells around it and of its own share in `whole`. (N, K, 2h, 2w)

    Args:
        cells: Probabilities (N, K, h, w).
        whole: The same at twice the resolution (N, K, 2h, 2w).
        choice: How much of each (N, 4, 5, h, w): for the four pixels of a cell, of the cells above left, above right,
            below left and below right, and of itself.
    """
    height, width = cells.shape[2:]
    framed = F.pad(cells, (1, 1, 1, 1), mode="replicate")
    mixed = []
    for pixel in range(SUBPIXELS):
        down, across = divmod(pixel, STRIDE)
        parts = [framed[..., i : i + height, j : j + width] for i, j in _corners(pixel)]
        parts.append(whole[..., down::STRIDE, across::STRIDE])
        weighted = [part * choice[:, pixel, place, None] for place, part in enumerate(parts)]
        mixed.append(torch.stack(weighted).sum(dim=0))
    return F.pixel_shuffle(torch.stack(mixed, dim=2).flatten(1, 2), STRIDE)


def choose_labels(cells: Tensor, whole: Tensor, choice: Tensor) -> Tensor:
    """The most likely class of what `choose` gives, without mixing where all that a pixel may choose agree. (N, 2h, 2w)

    Where they agree on their most likely class, it is that of any mixture of them. It takes what `choose` takes.

    Example:
        >>> cells, whole = torch.rand(1, 3, 4, 5), torch.rand(1, 3, 8, 10)
        >>> choice = torch.rand(1, 4, 5, 4, 5).softmax(dim=2)
        >>> bool((choose_labels(cells, whole, choice) == choose(cells, whole, choice).argmax(dim=1)).all())
        True
    """
    height, width = cells.shape[2:]
    framed = F.pad(cells, (1, 1, 1, 1), mode="replicate")
    of_cells, labels = most_likely(framed), most_likely(whole)  # (N, h + 2, w + 2) and (N, 2h, 2w)
    for pixel in range(SUBPIXELS):
        down, across = divmod(pixel, STRIDE)
        own = labels[:, down::STRIDE, across::STRIDE]
        agreed = torch.ones_like(own, dtype=torch.bool)
        for i, j in _corners(pixel):
            agreed &= of_cells[:, i : i + height, j : j + width] == own
        image, row, column = (~agreed).nonzero(as_tuple=True)
        parts = [framed[image, :, row + i, column + j] for i, j in _corners(pixel)]
        parts.append(whole[image, :, STRIDE * row + down, STRIDE * column + across])
        mixed = sum(part * choice[image, pixel, place, row, column, None] for place, part in enumerate(parts))
        assert isinstance(mixed, Tensor)
        own[image, row, column] = mixed.argmax(dim=1)  # a view of the labels
    return labels


def most_likely(shares: Tensor) -> Tensor:
    """The argmax over the classes (N, K, H, W), without its walk across memory. (N, H, W)"""
    best = shares[:, 0]
    labels = torch.zeros_like(best, dtype=torch.int64)
    for k in range(1, shares.shape[1]):
        labels.masked_fill_(shares[:, k] > best, k)
        best = torch.maximum(best, shares[:, k])
    return labels


def _corners(pixel: int) -> list[tuple[int, int]]:
    """Where the four cells around a pixel of a cell lie among cells that are framed by one more on each side."""
    down, across = divmod(pixel, STRIDE)
    return [(down + i, across + j) for i in range(2) for j in range(2)]
