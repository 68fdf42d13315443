"""The contract's equation one pixel at a time, in image coordinates and float64: slow, and shares no code."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

# (row, column) of a pixel's neighbours, relative to it, in the order of the gates.
NEIGHBOURS = {
    "right": ((-1, -1), (0, -1), (1, -1)),
    "down": ((-1, -1), (-1, 0), (-1, 1)),
    "left": ((-1, 1), (0, 1), (1, 1)),
    "up": ((1, -1), (1, 0), (1, 1)),
}


def neighbours_of(direction: str, connection: int) -> tuple[tuple[int, int], ...]:
    return NEIGHBOURS[direction] if connection == 3 else NEIGHBOURS[direction][1:2]


def scan_by_pixel(x: np.ndarray, gates: np.ndarray, direction: str) -> np.ndarray:
    """x (N, C, H, W), gates (N, K, G, H, W) -> h (N, C, H, W)."""
    channels, height, width = x.shape[1:]
    gates = gates[:, :, np.arange(channels) // (channels // gates.shape[2])]  # (N, K, C, H, W)
    rows = range(height - 1, -1, -1) if direction == "up" else range(height)
    columns = range(width - 1, -1, -1) if direction == "left" else range(width)
    across = direction in ("right", "left")  # then all of a column comes before the next
    pixels = [(i, j) for j in columns for i in rows] if across else [(i, j) for i in rows for j in columns]
    h = np.full_like(x, np.nan)  # so that a pixel that is read too early shows
    for i, j in pixels:
        own, received = 1.0, 0.0
        for k, (down, right) in enumerate(neighbours_of(direction, gates.shape[1])):
            if 0 <= i + down < height and 0 <= j + right < width:
                gate = gates[:, k, :, i, j]
                own = own - gate
                received = received + gate * h[:, :, i + down, j + right]
        h[:, :, i, j] = own * x[:, :, i, j] + received
    return h


def merge_maps(maps: Tensor, merge: str) -> Tensor:
    """(N, D, C, H, W) -> (N, C, H, W), or as it is for "none"; torch's maximum lets NaN through."""
    return {"none": lambda: maps, "max": lambda: maps.amax(1), "mean": lambda: maps.mean(1)}[merge]()


def propagate_by_pixel(x: Tensor, gates: Tensor, directions: Sequence[str], merge: str) -> Tensor:
    wide_x, wide_gates = x.detach().cpu().double().numpy(), gates.detach().cpu().double().numpy()
    maps = [scan_by_pixel(wide_x, wide_gates[:, d], direction) for d, direction in enumerate(directions)]
    return merge_maps(torch.from_numpy(np.stack(maps, axis=1)), merge)


def points_outside(directions: Sequence[str], connection: int, height: int, width: int) -> Tensor:
    """(D, K, 1, H, W): the gates whose neighbour lies outside the image."""
    outside = torch.zeros(len(directions), connection, 1, height, width, dtype=torch.bool)
    for d, direction in enumerate(directions):
        for k, (down, right) in enumerate(neighbours_of(direction, connection)):
            for i in range(height):
                for j in range(width):
                    outside[d, k, 0, i, j] = not (0 <= i + down < height and 0 <= j + right < width)
    return outside
