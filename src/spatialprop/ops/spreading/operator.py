"""The registered operator `spatialprop::spread`, one for all compiled backends.

For the backward pass it saves its inputs only: that makes the steps again.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from spatialprop.ops.register import register


def _shapes(x: Tensor, affinity: Tensor, dilations: Sequence[int], kernel: int, steps: int) -> Tensor:
    return x.new_empty(x.shape)


def _backward_inputs(inputs: tuple[Any, ...], extra: Sequence[Tensor], needs: Sequence[bool]) -> tuple[Any, ...]:
    return inputs


OPERATOR = register(
    "spread",
    __package__,
    schema="(Tensor x, Tensor affinity, int[] dilations, int kernel, int steps) -> Tensor",
    backward_schema="(Tensor grad, Tensor x, Tensor affinity, int[] dilations, int kernel, int steps, "
    "bool need_x, bool need_affinity) -> (Tensor, Tensor)",
    shapes=_shapes,
    backward_inputs=_backward_inputs,
)
