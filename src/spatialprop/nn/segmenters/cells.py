"""Resampling of a network's output to cells that tile its image."""

import torch
from torch import Tensor


def cells(size: tuple[int, ...], stride: int) -> tuple[int, ...]:
    """How many cells of `stride` pixels cover an image, on each side.

    Example:
        >>> cells((375, 500), 8)
        (47, 63)
    """
    return tuple(-(-side // stride) for side in size)


def read_at_cells(
    scores: Tensor, size: tuple[int, ...], count: tuple[int, ...], *, first: float, step: float
) -> Tensor:
    """Read `scores` bilinearly at the centres of `count` cells that tile an image of `size`.

    A network's samples lie where its paddings and strides put them: sample i at pixel first + step * i. Everything here
    takes a coarse map to tile its image (half-pixel centres), also where the image does not divide.

    Example:
        >>> import torch
        >>> ramp = torch.arange(4.0).reshape(1, 1, 1, 4)  # at pixels 0, 8, 16, 24
        >>> read_at_cells(ramp, (1, 16), (1, 2), first=0, step=8)  # at pixels 3.5 and 11.5
        tensor([[[[0.4375, 1.4375]]]])
    """
    rows, columns = (
        _reading(side, number, samples, first, step).to(scores)
        for side, number, samples in zip(size, count, scores.shape[-2:], strict=True)
    )
    return rows @ scores @ columns.T


def read_inside(maps: Tensor, padded: tuple[int, ...], size: tuple[int, ...]) -> Tensor:
    """What `maps` that tile an image of size `padded` hold of the image of `size` in its upper left, at their stride.

    Example:
        >>> import torch
        >>> ramp = torch.arange(4.0).reshape(1, 1, 1, 4)  # cells of 8 pixels
        >>> read_inside(ramp, (8, 32), (8, 18))  # three cells of 6
        tensor([[[[0.0000, 0.6250, 1.3750]]]])
    """
    rows, columns = (
        _reading(side, -(-side * samples // whole), samples, (whole / samples - 1) / 2, whole / samples).to(maps)
        for side, whole, samples in zip(size, padded, maps.shape[-2:], strict=True)
    )
    return rows @ maps @ columns.T


def _reading(side: int, number: int, samples: int, first: float, step: float) -> Tensor:
    """The weights of each sample in each cell. (number, samples)"""
    centres = (torch.arange(number, dtype=torch.float64) + 0.5) * side / number - 0.5
    position = ((centres - first) / step).clamp(0, samples - 1)
    return (1 - (position[:, None] - torch.arange(samples)).abs()).clamp(min=0)
