"""What is minimised, given log-probabilities (N, K, H, W) and labels (N, H, W)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from spatialprop.data.example import VOID


def cross_entropy(log_probabilities: Tensor, label: Tensor) -> Tensor:
    """Mean negative log-probability of the true class over the pixels that count.

    Example:
        >>> label = torch.tensor([[[0, VOID]]])
        >>> round(cross_entropy(torch.tensor([[[[0.5, 0.1]], [[0.5, 0.9]]]]).log(), label).item(), 3)
        0.693
    """
    total = F.nll_loss(log_probabilities, label, ignore_index=VOID, reduction="sum")
    return total / (label != VOID).sum().clamp_min(1)  # a batch of nothing but void must not give NaN


def multi_objective(log_probabilities: Tensor, label: Tensor, *, edge_weight: float = 1.0) -> Tensor:
    """Cross-entropy of the classes, plus that of where classes change.

    An edge lies between a pixel and its right or lower neighbour where their classes differ. The network says how
    likely that is by its class probabilities alone: 1 - sum of p(class) p'(class). Edges are rare, so that edges and
    the rest each get half of the weight.
    """
    probabilities = log_probabilities.exp()
    total = cross_entropy(log_probabilities, label)
    for dim in (-1, -2):
        length = label.shape[dim]
        if length < 2:
            continue
        here, there = label.narrow(dim, 0, length - 1), label.narrow(dim, 1, length - 1)
        same = (probabilities.narrow(dim, 0, length - 1) * probabilities.narrow(dim, 1, length - 1)).sum(dim=1)
        counted = (here != VOID) & (there != VOID)
        edge = counted & (here != there)
        inside = counted & (here == there)
        for chosen, likelihood in ((edge, 1 - same), (inside, same)):
            loss = -likelihood.clamp_min(1e-6).log()
            total = total + 0.25 * edge_weight * torch.where(chosen, loss, 0).sum() / chosen.sum().clamp_min(1)
    return total
