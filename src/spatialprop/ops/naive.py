"""Spatial propagation in plain PyTorch: the text that every other backend is held to.

Nothing here is fast. It runs on every device and can be differentiated twice.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from spatialprop.ops.contract import state_dtype


def propagate(x: Tensor, gates: Tensor, directions: Sequence[str], merge: str) -> Tensor:
    """Scan `x` (N, C, H, W) along each direction under `gates` (N, D, K, G, H, W) and merge the results."""
    dtype, state = x.dtype, state_dtype(x.dtype)
    x, gates = x.to(state), gates.to(state)  # once, so that gradients too are rounded once
    maps = [scan(x, gates[:, d], direction) for d, direction in enumerate(directions)]
    if merge == "none":
        return torch.stack(maps, dim=1).to(dtype)  # (N, D, C, H, W)
    if merge == "mean":
        return (sum(maps[1:], maps[0]) / len(maps)).to(dtype)
    return first_maximum(maps).to(dtype)


def scan(x: Tensor, gates: Tensor, direction: str) -> Tensor:
    """One direction: x (N, C, H, W), gates (N, K, G, H, W) -> h (N, C, H, W).

    h_t = (1 - sum_k g_k) * x_t + sum_k g_k * h_{t-1} shifted by k, line after line (the paper's Eq. 9 and 10).
    """
    x, gates = to_rightward(x, direction), to_rightward(gates, direction)
    connection, groups, length = gates.shape[1], gates.shape[2], x.shape[-2]
    inside = neighbour_inside(connection, length, x.device)  # (K, 1, L)

    line = torch.zeros_like(x[..., 0])  # (N, C, L)
    lines = []
    for t, (own, gate) in enumerate(zip(x.unbind(-1), gates.unbind(-1), strict=True)):
        gate = torch.where(inside & (t > 0), gate, 0)  # (N, K, G, L); the first line hears nobody
        gate = gate.repeat_interleave(x.shape[1] // groups, dim=2)  # (N, K, C, L)
        line = (1 - gate.sum(1)) * own + (gate * neighbours(line, connection)).sum(1)
        lines.append(line)
    return from_rightward(torch.stack(lines, dim=-1), direction)


def neighbours(line: Tensor, connection: int) -> Tensor:
    """What each pixel of the next line hears: (N, C, L) -> (N, K, C, L), zero beyond the ends."""
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


def first_maximum(maps: Sequence[Tensor]) -> Tensor:
    """Node-wise maximum; a tie, and its gradient, goes to the first map; NaN wins over numbers."""
    best = maps[0]
    for candidate in maps[1:]:
        better = (candidate > best) | (candidate.isnan() & ~best.isnan())
        best = torch.where(better, candidate, best)
    return best


def to_rightward(image: Tensor, direction: str) -> Tensor:
    """Turn an image (..., H, W) so that information travels from its left column to its right one."""
    if direction in ("down", "up"):
        image = image.transpose(-1, -2)
    return image.flip(-1) if direction in ("left", "up") else image


def from_rightward(image: Tensor, direction: str) -> Tensor:
    if direction in ("left", "up"):
        image = image.flip(-1)
    return image.transpose(-1, -2) if direction in ("down", "up") else image
