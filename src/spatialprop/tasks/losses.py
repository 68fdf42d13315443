"""Losses of log-probabilities (N, K, H, W) and labels (N, H, W)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from spatialprop.data import VOID


def cross_entropy(log_probabilities: Tensor, label: Tensor) -> Tensor:
    """Mean negative log-probability of the true class over the pixels that count.

    Example:
        >>> label = torch.tensor([[[0, VOID]]])
        >>> round(cross_entropy(torch.tensor([[[[0.5, 0.1]], [[0.5, 0.9]]]]).log(), label).item(), 3)
        0.693
    """
    total = F.nll_loss(log_probabilities, label, ignore_index=VOID, reduction="sum")
    return total / (label != VOID).sum().clamp_min(1)  # no NaN for a batch that is all void


def edge_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy of an output of edges (N, 1, h, w), one cell of which covers one pixel of the label or more.

    A cell is an edge if the class of any of its pixels differs from that of the next pixel in its row or column. Edges
    are rare, so edges and the rest each get half of the weight. Void pixels do not count.

    Example:
        >>> label = torch.tensor([[[0, 0, 1, 1]]])
        >>> sure = torch.tensor([[[[-9.0, 9.0, -9.0, 0.0]]]])  # the last one has no next pixel, and does not count
        >>> round(edge_loss(sure, label).item(), 3)
        0.0
    """
    label = label[:, None]
    edge, counted = torch.zeros_like(label, dtype=torch.bool), torch.zeros_like(label, dtype=torch.bool)
    for dim in (-1, -2):
        length = label.shape[dim] - 1
        here, there = label.narrow(dim, 0, length), label.narrow(dim, 1, length)
        both = (here != VOID) & (there != VOID)
        counted.narrow(dim, 0, length).logical_or_(both)
        edge.narrow(dim, 0, length).logical_or_(both & (here != there))
    size = logits.shape[-2:]
    edge, counted = (F.adaptive_max_pool2d(one.to(logits.dtype), size) > 0 for one in (edge, counted))
    total = logits.new_zeros(())
    for chosen, loss in ((edge, F.softplus(-logits)), (counted & ~edge, F.softplus(logits))):
        total = total + 0.5 * torch.where(chosen, loss, 0).sum() / chosen.sum().clamp_min(1)
    return total
