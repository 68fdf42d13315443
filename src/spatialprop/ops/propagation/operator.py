"""The registered operator `spatialprop::propagate`, one for all compiled backends.

For the backward pass it saves both inputs, for "max" one byte a pixel that says which direction won, and on the CPU
some lines of every scan. Directions are given as indices into `contract.DIRECTIONS`: schemas know no lists of strings.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spatialprop.ops.contract import state_dtype
from spatialprop.ops.register import register

LINES_PER_BLOCK = 64  # the CPU keeps the last line of each block of a scan, and makes the others again


def count_kept(shape: Sequence[int], directions: Sequence[int]) -> int:
    """Count the numbers that the CPU keeps for the backward pass: the last line of each block of every scan.

    The very last line is never read. Without it nothing would be kept at small sizes, for which torch.compile would
    make a graph of its own.
    """
    batch, channels, height, width = shape
    scans = [(width, height) if direction % 2 == 0 else (height, width) for direction in directions]
    return batch * channels * sum(-(-lines // LINES_PER_BLOCK) * length for lines, length in scans)


def _shapes(
    x: Tensor, gates: Tensor, directions: Sequence[int], merge: str, keep: bool, normalize: str | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    out = x.shape if merge != "none" else (x.shape[0], len(directions), *x.shape[1:])
    winner = x.shape if keep and merge == "max" else (0,)
    kept = count_kept(x.shape, directions) if keep and x.device.type == "cpu" else 0
    return x.new_empty(out), x.new_empty(winner, dtype=torch.uint8), x.new_empty((kept,), dtype=state_dtype(x.dtype))


def _backward_inputs(inputs: tuple[Any, ...], extra: Sequence[Tensor], needs: Sequence[bool]) -> tuple[Any, ...]:
    x, gates, directions, merge, keep, normalize = inputs
    if not keep and (merge == "max" or needs[1]):  # recorded where no gradient was wanted, as by torch.export
        _, *extra = OPERATOR.call(x, gates, directions, merge, True, normalize)
    return x, gates, *extra, directions, merge, normalize


OPERATOR = register(
    "propagate",
    __package__,
    schema="(Tensor x, Tensor gates, int[] directions, str merge, bool keep, str? normalize=None) "
    "-> (Tensor, Tensor, Tensor)",
    backward_schema="(Tensor grad, Tensor x, Tensor gates, Tensor winner, Tensor kept, int[] directions, str merge, "
    "str? normalize, bool need_x, bool need_gates) -> (Tensor, Tensor)",
    shapes=_shapes,
    backward_inputs=_backward_inputs,
)
