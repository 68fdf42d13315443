"""Spatial propagation in plain PyTorch: the text that every other backend is held to.

Nothing here is fast. It runs on every device and can be differentiated twice.
"""

from collections.abc import Iterable, Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from spatialprop.ops.contract import state_dtype


def propagate(x: Tensor, gates: Tensor, directions: Sequence[str], merge: str) -> Tensor:
    """Scan `x` (N, C, H, W) along each direction under `gates` (N, D, K, G, H, W) and merge the results."""
    dtype = x.dtype
    x = x.to(state_dtype(dtype))  # once, so that its gradient too is rounded once
    maps = (scan(x, gates[:, d], direction) for d, direction in enumerate(directions))  # one at a time
    if merge == "none":
        return torch.stack(list(maps), dim=1).to(dtype)  # (N, D, C, H, W)
    if merge == "mean":
        return (reduce(torch.add, maps) / len(directions)).to(dtype)
    return first_maximum(maps).to(dtype)


def scan(x: Tensor, gates: Tensor, direction: str) -> Tensor:
    """One direction: x (N, C, H, W), gates (N, K, G, H, W) -> h (N, C, H, W), in the type of x.

    h_t = (1 - sum_k g_k) * x_t + sum_k g_k * h_{t-1} shifted by k, line after line (the paper's Eq. 9 and 10). Taken as
    x_t + sum_k g_k * (h_{t-1} shifted by k - x_t), which leaves a constant map as it is to the last bit.
    """
    connection, groups, _, _ = gates.shape[1:]
    x = x.reshape(x.shape[0], groups, -1, *x.shape[2:])  # (N, G, S, H, W): S channels share the gates of a group
    x, gates = to_rightward(x, direction), to_rightward(gates.unsqueeze(3), direction)  # (..., L, T)
    inside = neighbour_inside(connection, x.shape[-2], x.device).unsqueeze(1)  # (K, 1, 1, L)

    line = torch.zeros_like(x[..., 0])  # (N, G, S, L)
    lines = []
    for t, (own, gate) in enumerate(zip(x.unbind(-1), gates.unbind(-1), strict=True)):
        gate = torch.where(inside & (t > 0), gate, 0)  # the first line hears nobody
        line = next_line(line, own, gate) if t > 0 else own + gate.sum(1)
        lines.append(line)
    return from_rightward(torch.stack(lines, dim=-1), direction).flatten(1, 2)


def next_line(line: Tensor, own: Tensor, gates: Tensor) -> Tensor:
    """One step of a scan: `line` and `own` (N, ..., L), `gates` (N, K, ..., L) -> the next line, (N, ..., L)."""
    difference = neighbours(line, gates.shape[1]) - own.unsqueeze(1)  # (N, K, ..., L)
    return own + (gates * difference).sum(1)


def neighbours(line: Tensor, connection: int) -> Tensor:
    """What each pixel of the next line hears: (N, ..., L) -> (N, K, ..., L), zero beyond the ends."""
    if connection == 1:
        return line.unsqueeze(1)
    padded = F.pad(line, (1, 1))
    return torch.stack([padded[..., :-2], line, padded[..., 2:]], dim=1)


def neighbour_inside(connection: int, length: int, device: torch.device) -> Tensor:
    """(K, 1, L): a gate that points outside the image counts as zero and drops out of the sum."""
    inside = torch.ones(connection, 1, length, dtype=torch.bool, device=device)
    if connection == 3:
        inside[0, :, 0] = False
        inside[2, :, -1] = False
    return inside


def first_maximum(maps: Iterable[Tensor]) -> Tensor:
    """Node-wise maximum; a tie, and its gradient, goes to the first map; NaN wins over numbers."""

    def better(best: Tensor, candidate: Tensor) -> Tensor:
        wins = (candidate > best) | (candidate.isnan() & ~best.isnan())
        return torch.where(wins, candidate, best)

    return reduce(better, maps)


def to_rightward(image: Tensor, direction: str) -> Tensor:
    """Turn an image (..., H, W) so that information travels from its left column to its right one."""
    if direction in ("down", "up"):
        image = image.transpose(-1, -2)
    return image.flip(-1) if direction in ("left", "up") else image


def from_rightward(image: Tensor, direction: str) -> Tensor:
    if direction in ("left", "up"):
        image = image.flip(-1)
    return image.transpose(-1, -2) if direction in ("down", "up") else image
