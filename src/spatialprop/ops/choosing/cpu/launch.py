"""The compiled form of `most_likely`: row by row, so that nothing of the image's size is kept but labels."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spatialprop.ops.choosing.cpu import kernels
from spatialprop.ops.machine.threads import run_threaded

_EACH = 1.5  # nanoseconds for one class of one pixel


def most_likely(coarse: Tensor, size: Sequence[int], cells: Tensor | None, choice: Tensor | None) -> Tensor:
    labels = torch.empty((len(coarse), *size), dtype=torch.int32)
    rows, columns = (_between(source, target) for source, target in zip(coarse.shape[-2:], size, strict=True))
    order = np.minimum(np.arange(size[1] + size[1] % 2).reshape(-1, 2).T.flatten(), size[1] - 1)  # even, then odd ones
    for image in range(len(coarse)):
        given, found = _array(coarse[image]), labels[image].numpy()
        if cells is None or choice is None:
            arguments, classes = (found, given, *rows, *columns), len(given)
            kernel = kernels.largest
        else:
            no_places, no_maps = np.empty((0, 0), np.int32), np.empty((0, 0, 0), np.float32)
            source = (given, no_maps) if given.ndim == 2 else (no_places, given)
            chosen = _array(cells[image]), _array(choice[image])
            arguments, classes = (found, *source, *rows, *(one[order] for one in columns), *chosen), 2 * cells.shape[1]
            kernel = kernels.choose
        run = functools.partial(kernel, *arguments)
        run_threaded(run, size[0], _EACH * classes * found.size)
    return labels


def _array(tensor: Tensor) -> npt.NDArray[Any]:
    return tensor.detach().contiguous().numpy()  # kernels would be compiled once more for other layouts


def _between(source: int, target: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """For each of `target` pixels the two of `source` pixels that it lies between, and how far from the first."""
    at = (np.arange(target, dtype=np.float32) + np.float32(0.5)) * np.float32(source / target) - np.float32(0.5)
    at = np.maximum(at, np.float32(0))
    first = np.minimum(at.astype(np.int64), source - 1)
    return first, np.minimum(first + 1, source - 1), at - first.astype(np.float32)
