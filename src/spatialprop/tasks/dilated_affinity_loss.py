"""Supervision of affinities: labels on their grid, and a loss that balances the kinds of pairs."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from spatialprop.data import VOID
from spatialprop.nn.dilated import later_half
from spatialprop.ops import neighbour_labels


def labels_on_grid(label: Tensor, size: Sequence[int]) -> Tensor:
    """The label (N, H, W) of the pixel at the centre of each cell of a grid. (N, h, w)

    Example:
        >>> labels_on_grid(torch.arange(16).reshape(1, 4, 4), (2, 2))
        tensor([[[ 5,  7],
                 [13, 15]]])
    """
    rows, columns = (
        ((torch.arange(cells, device=label.device) + 0.5) * side / cells).long()
        for side, cells in zip(label.shape[-2:], size, strict=True)
    )
    return label[:, rows[:, None], columns]


def balanced_affinity_loss(
    pairs: Tensor, label: Tensor, dilations: Sequence[int], kernel: int = 3, background: int | None = None
) -> Tensor:
    """Cross-entropy of pairs, half of it for pairs of different classes, however few they are.

    At each dilation the loss of each kind of pair is averaged over the pairs of that kind: different classes weigh 1/2;
    both background 1/4 and both one class of the foreground 1/4, or, without a background, both one class 1/2. A kind
    that does not occur adds nothing. The dilations are averaged.

    Args:
        pairs: Logits (N, P / 2, h, w) of later neighbours.
        label: (N, h, w), on the grid of the pairs; void does not count.
        dilations: Distances between neighbours.
        kernel: Odd side of the square in which neighbours lie.
        background: The class that most pixels are of, None if there is no such class.

    Example:
        >>> label = torch.tensor([[[0, 0, 0, 0, 1]]])
        >>> unsure = torch.zeros(1, 4, 1, 5)
        >>> round(balanced_affinity_loss(unsure, label, dilations=[1]).item(), 3)  # all kinds at log 2
        0.693
    """
    truth = later_half(neighbour_labels(label, dilations, kernel, VOID), dilations)
    same, different = truth == 1, truth == 0
    kinds = [(different, 0.5), (same, 0.5)]
    if background is not None:
        behind = (label == background).unsqueeze(1)
        kinds = [(different, 0.5), (same & behind, 0.25), (same & ~behind, 0.25)]
    loss = F.binary_cross_entropy_with_logits(pairs.float(), same.float(), reduction="none")
    total = loss.new_zeros(())
    for kind, weight in kinds:
        for chosen, of_dilation in zip(kind.chunk(len(dilations), 1), loss.chunk(len(dilations), 1), strict=True):
            total = total + weight * torch.where(chosen, of_dilation, 0).sum() / chosen.sum().clamp_min(1)
    return total / len(dilations)
