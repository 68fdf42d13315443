"""The registered operator `spatialprop::propagate` and its gradient, one for every compiled backend.

Each backend module offers `forward` and `backward`. What is kept for the latter is the two inputs; for "max" one byte a
pixel, which direction won; and, by the CPU's, a few lines of every scan.
Directions travel as indices into `contract.DIRECTIONS`, since operator schemas know no list of strings.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spatialprop.ops.contract import state_dtype


@torch.library.custom_op(
    "spatialprop::propagate",
    mutates_args=(),
    device_types="cpu",
    schema="(Tensor x, Tensor gates, int[] directions, str merge, bool keep) -> (Tensor, Tensor, Tensor)",
)
def propagate(
    x: Tensor, gates: Tensor, directions: Sequence[int], merge: str, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The merged map and, for a backward pass if `keep`: the index of the winning direction (uint8), lines of scans."""
    from spatialprop.ops.propagation.cpu import launch as cpu

    return cpu.forward(x, gates, directions, merge, keep)


@propagate.register_kernel("cuda")
def _(x: Tensor, gates: Tensor, directions: Sequence[int], merge: str, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    from spatialprop.ops.propagation import cuda

    out, winner = cuda.forward(x, gates, directions, merge, keep and merge == "max")
    return out, winner, x.new_empty((0,), dtype=state_dtype(x.dtype))


@propagate.register_fake
def _(x: Tensor, gates: Tensor, directions: Sequence[int], merge: str, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    kept = 0
    if keep and x.device.type == "cpu":
        from spatialprop.ops.propagation.cpu import launch as cpu

        kept = cpu.kept_numbers(x.shape, directions)
    out = x.shape if merge != "none" else (x.shape[0], len(directions), *x.shape[1:])
    winner = x.shape if keep and merge == "max" else (0,)
    return x.new_empty(out), x.new_empty(winner, dtype=torch.uint8), x.new_empty((kept,), dtype=state_dtype(x.dtype))


@torch.library.custom_op(
    "spatialprop::propagate_backward",
    mutates_args=(),
    device_types="cpu",
    schema="(Tensor grad, Tensor x, Tensor gates, Tensor winner, Tensor kept, int[] directions, str merge, "
    "bool need_x, bool need_gates) -> (Tensor, Tensor)",
)
def propagate_backward(
    grad: Tensor,
    x: Tensor,
    gates: Tensor,
    winner: Tensor,
    kept: Tensor,
    directions: Sequence[int],
    merge: str,
    need_x: bool,
    need_gates: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients with respect to `x` and `gates`; one that is not needed comes back empty, shape (0,)."""
    from spatialprop.ops.propagation.cpu import launch as cpu

    return cpu.backward(grad, x, gates, winner, kept, directions, merge, need_x, need_gates)


@propagate_backward.register_kernel("cuda")
def _(
    grad: Tensor,
    x: Tensor,
    gates: Tensor,
    winner: Tensor,
    kept: Tensor,
    directions: Sequence[int],
    merge: str,
    need_x: bool,
    need_gates: bool,
) -> tuple[Tensor, Tensor]:
    from spatialprop.ops.propagation import cuda

    return cuda.backward(grad, x, gates, winner, directions, merge, need_x, need_gates)


@propagate_backward.register_fake
def _(
    grad: Tensor,
    x: Tensor,
    gates: Tensor,
    winner: Tensor,
    kept: Tensor,
    directions: Sequence[int],
    merge: str,
    need_x: bool,
    need_gates: bool,
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape if need_x else (0,)), gates.new_empty(gates.shape if need_gates else (0,))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, gates, ctx.directions, ctx.merge, ctx.keep = inputs
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)  # a gradient of zeros for the winner would cost as much as the real ones
    ctx.save_for_backward(x, gates, *output[1:])


def _differentiate(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 5
    x, gates, winner, kept = ctx.saved_tensors
    need_x, need_gates = ctx.needs_input_grad[:2]
    if not ctx.keep and (ctx.merge == "max" or need_gates):  # recorded where no gradient was wanted, as by export
        _, winner, kept = propagate(x, gates, ctx.directions, ctx.merge, True)
    grad_x, grad_gates = propagate_backward(grad, x, gates, winner, kept, ctx.directions, ctx.merge, need_x, need_gates)
    return grad_x if need_x else None, grad_gates if need_gates else None, None, None, None


propagate.register_autograd(_differentiate, setup_context=_keep)


def _refuse(ctx: Any, *grads: Any) -> None:
    raise RuntimeError(
        "the compiled backends of propagate have first derivatives only; for second ones "
        "(create_graph=True, gradient penalties, Hessians) call propagate(..., backend='naive')"
    )


propagate_backward.register_autograd(_refuse)
