"""Polygons along the edges of pixels: a mask drawn from them is the same to the pixel."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ring = list[tuple[int, int]]  # corners (x, y), the first one not repeated


def outlines(mask: NDArray[Any]) -> list[Ring]:
    """Polygons of a mask, one for each part; holes are cut out by a slit of no width that leads to them.

    Args:
        mask: True or not zero where the object is. (H, W)

    Example:
        >>> outlines(np.array([[0, 1, 1], [0, 1, 0]]))
        [[(1, 0), (3, 0), (3, 1), (2, 1), (2, 2), (1, 2)]]
    """
    rings = _rings(np.pad(np.asarray(mask, bool), 1))
    outer = [ring for ring in rings if _area(ring) > 0]
    for hole in sorted((ring for ring in rings if _area(ring) < 0), key=min_corner):
        _cut(outer, hole)
    return [_straight(ring) for ring in outer]


def min_corner(ring: Ring) -> tuple[int, int]:
    """The topmost corner of a ring, and of these the leftmost, as (y, x)."""
    return min((y, x) for x, y in ring)


def _rings(inside: NDArray[np.bool_]) -> list[Ring]:
    """Closed walks along the edges of a mask within a frame of zeros, the object to the right of the walker.

    Where two pixels touch by a corner only, the walk turns so that they are parts of their own.
    """
    top = np.argwhere(inside[1:, 1:] & ~inside[:-1, 1:])
    bottom = np.argwhere(~inside[1:, 1:] & inside[:-1, 1:])
    left = np.argwhere(inside[1:, 1:] & ~inside[1:, :-1])
    right = np.argwhere(~inside[1:, 1:] & inside[1:, :-1])
    leaving: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for found, start, end in (
        (top, (0, 0), (1, 0)), (bottom, (1, 0), (0, 0)), (left, (0, 1), (0, 0)), (right, (0, 0), (0, 1))
    ):  # fmt: skip
        for row, column in found.tolist():
            leaving.setdefault((column + start[0], row + start[1]), []).append((column + end[0], row + end[1]))
    rings = []
    while leaving:
        first = min(leaving, key=lambda corner: (corner[1], corner[0]))
        ring, here = [first], leaving[first].pop()
        if not leaving[first]:
            del leaving[first]
        while here != first:
            ways, before = leaving[here], ring[-1]
            # Of two ways the one to the right.
            turn = (here[0] - (here[1] - before[1]), here[1] + (here[0] - before[0]))
            there = turn if turn in ways else ways[0]
            ways.remove(there)
            if not ways:
                del leaving[here]
            ring.append(here)
            here = there
        rings.append(ring)
    return rings


def _cut(outer: list[Ring], hole: Ring) -> None:
    """Join a hole to the ring above its topmost corner by a vertical slit."""
    y, x = min_corner(hole)
    start = hole.index((x, y))
    best: tuple[int, int, int] | None = None  # row, ring, place of the corner right above
    for number, ring in enumerate(outer):
        for place, (column, row) in enumerate(ring):
            if column == x and row < y and (best is None or row > best[0]):
                best = (row, number, place)
    assert best is not None  # every column of a hole has an edge above, each of whose unit steps is a corner here
    _, number, place = best
    ring = outer[number]
    outer[number] = [*ring[: place + 1], *hole[start:], *hole[:start], (x, y), *ring[place:]]


def _area(ring: Ring) -> int:
    """Twice the area, positive for walks that have the object to their right in an image whose rows go down."""
    return sum(x * other_y - other_x * y for (x, y), (other_x, other_y) in zip(ring, ring[1:] + ring[:1], strict=True))


def _straight(ring: Ring) -> Ring:
    """Without the corners at which nothing turns."""
    before, after = ring[-1:] + ring[:-1], ring[1:] + ring[:1]
    return [
        (x, y)
        for (x0, y0), (x, y), (x1, y1) in zip(before, ring, after, strict=True)
        if (x - x0) * (y1 - y) != (y - y0) * (x1 - x) or (x1 - x) * (x - x0) + (y1 - y) * (y - y0) < 0
    ]
