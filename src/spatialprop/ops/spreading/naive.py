"""Averaging along dilated affinities in plain PyTorch: the definition that every other backend must agree with."""

from collections.abc import Sequence

import torch
from torch import Tensor

from spatialprop.ops.contract import state_dtype
from spatialprop.ops.spreading.pairs import neighbour_offsets, neighbours


def spread(x: Tensor, affinity: Tensor, dilations: Sequence[int], kernel: int, steps: int) -> Tensor:
    """Average `x` (N, C, H, W) with its neighbours, weighted by `affinity` (N, P, H, W), `steps` times."""
    dtype, state = x.dtype, state_dtype(x.dtype)
    h, affinity = x.to(state), affinity.to(state)  # once, so that gradients too are rounded once
    offsets = neighbour_offsets(dilations, kernel)
    inside = torch.stack(neighbours(torch.ones_like(h[0, 0], dtype=torch.bool), offsets))  # (P, H, W)
    affinity = torch.where(inside, affinity, 0)
    total = 1 + affinity.sum(1, keepdim=True)  # the pixel itself weighs 1
    for _ in range(steps):
        weighted = h
        for weight, neighbour in zip(affinity.unsqueeze(2).unbind(1), neighbours(h, offsets), strict=True):
            weighted = weighted + weight * neighbour
        h = weighted / total
    return h.to(dtype)
