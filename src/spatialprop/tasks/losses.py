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


def multi_objective(log_probabilities: Tensor, label: Tensor, *, edge_weight: float = 1.0, reach: int = 1) -> Tensor:
    """Cross-entropy of the classes plus cross-entropy of the edges between them: the loss of the face parsing baseline.

    There is an edge between two pixels, `reach` apart in a row or a column, if their classes differ. Its probability
    follows from the class probabilities: 1 - sum of p(class) p'(class). Edges are rare, so edges and non-edges each
    get half of the weight.

    Liu et al. (2015), who introduce these two objectives, give the edges an output of their own, which is of no use
    once the network is trained; here the network has none. Their weights are not in the papers at hand.

    Args:
        log_probabilities: (N, K, H, W).
        label: (N, H, W), VOID where nothing counts.
        edge_weight: Weight of the edges relative to the classes.
        reach: Distance of the compared pixels; take the stride of the network's output.

    Example:
        >>> label = torch.tensor([[[0, 0, 1, 1]]])
        >>> unsure = torch.full((1, 2, 1, 4), 0.5).log()
        >>> round(multi_objective(unsure, label).item() / cross_entropy(unsure, label).item(), 3)
        1.5
    """
    if reach < 1:
        raise ValueError(f"reach must be at least 1 pixel; got {reach}")
    probabilities = log_probabilities.exp()
    total = cross_entropy(log_probabilities, label)
    for dim in (-1, -2):
        length = label.shape[dim] - reach
        if length < 1:
            continue
        here, there = label.narrow(dim, 0, length), label.narrow(dim, reach, length)
        same = (probabilities.narrow(dim, 0, length) * probabilities.narrow(dim, reach, length)).sum(dim=1)
        counted = (here != VOID) & (there != VOID)
        edge = counted & (here != there)
        inside = counted & (here == there)
        for chosen, probability in ((edge, 1 - same), (inside, same)):
            loss = -probability.clamp_min(1e-6).log()
            total = total + 0.25 * edge_weight * torch.where(chosen, loss, 0).sum() / chosen.sum().clamp_min(1)
    return total
