"""Spatial propagation in plain PyTorch: the definition that every other backend must agree with.

Nothing here is fast. It runs on every device and can be differentiated twice.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from spatialprop.ops.contract import state_dtype
from spatialprop.ops.normalization import normalize_wide

Step = Callable[[Tensor, Tensor, Tensor], Tensor]
Loop = Callable[[Step, Tensor, Tensor, Tensor], Tensor]


def propagate(
    x: Tensor,
    gates: Tensor,
    directions: Sequence[str],
    merge: str,
    normalize: str | None = None,
    loop: Loop | None = None,
) -> Tensor:
    """Scan `x` (N, C, H, W) along each direction under `gates` (N, D, K, G, H, W) and merge the results."""
    dtype = x.dtype
    x = x.to(state_dtype(dtype))  # once, so that its gradient too is rounded once
    gates = gates if normalize is None else normalize_wide(gates, normalize)
    maps = (scan(x, gates[:, d], direction, loop) for d, direction in enumerate(directions))  # one at a time
    if merge == "none":
        return torch.stack(list(maps), dim=1).to(dtype)  # (N, D, C, H, W)
    if merge == "mean":
        return (reduce(torch.add, maps) / len(directions)).to(dtype)
    return first_maximum(maps).to(dtype)


def scan(x: Tensor, gates: Tensor, direction: str, loop: Loop | None = None) -> Tensor:
    """One direction: x (N, C, H, W), gates (N, K, G, H, W) -> h (N, C, H, W), in the type of x.

    h_t = (1 - sum_k g_k) * x_t + sum_k g_k * h_{t-1} shifted by k, line after line (the paper's Eq. 9 and 10). Computed
    as x_t + sum_k g_k * (h_{t-1} shifted by k - x_t), which leaves a constant map as it is to the last bit.

    `loop(step, first, x, gates)` returns the lines (N, G, S, L, T): the first is given, and each next one is
    `step(line, x[..., t], gates[..., t])`. The default is a loop in Python; an exported graph may need another.
    """
    connection, groups, _, _ = gates.shape[1:]
    x = x.reshape(x.shape[0], groups, -1, *x.shape[2:])  # (N, G, S, H, W): S channels share the gates of a group
    x, gates = to_rightward(x, direction), to_rightward(gates.unsqueeze(3), direction)  # (..., L, T)
    inside = neighbour_inside(connection, x.shape[-2], x.device)[:, None, :, :, None]  # (K, 1, 1, L, 1)
    not_first = torch.arange(x.shape[-1], device=x.device) > 0  # the first line has no neighbours
    gates = torch.where(inside & not_first, gates, 0)

    def step(line: Tensor, own: Tensor, gate: Tensor) -> Tensor:
        return own + (gate * (neighbours(line, connection) - own.unsqueeze(1))).sum(1)

    first = x[..., 0] + gates[..., 0].sum(1)  # a sum of zeros, so that gates have a gradient in a single line too
    return from_rightward((loop or _loop)(step, first, x, gates), direction).flatten(1, 2)


def _loop(step: Step, first: Tensor, x: Tensor, gates: Tensor) -> Tensor:
    lines = [first]
    for own, gate in zip(x.unbind(-1)[1:], gates.unbind(-1)[1:], strict=True):
        lines.append(step(lines[-1], own, gate))
    return torch.stack(lines, dim=-1)


def neighbours(line: Tensor, connection: int) -> Tensor:
    """The K neighbours of each pixel of the next line: (N, ..., L) -> (N, K, ..., L), zero beyond the ends."""
    if connection == 1:
        return line.unsqueeze(1)
    padded = F.pad(line, (1, 1))
    return torch.stack([padded[..., :-2], line, padded[..., 2:]], dim=1)


def neighbour_inside(connection: int, length: int, device: torch.device) -> Tensor:
    """Where gates point inside the image, (K, 1, L); the others count as zero and drop out of the sum."""
    inside = torch.ones(connection, 1, length, dtype=torch.bool, device=device)
    if connection == 3:
        inside[0, :, 0] = False
        inside[2, :, -1] = False
    return inside


def first_maximum(maps: Iterable[Tensor]) -> Tensor:
    """The maximum at each pixel: where maps tie the first one gets the whole gradient, and NaN wins over numbers."""

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
