"""Register an operator with PyTorch: its backends, its shapes, its gradient, and errors for derivatives it lacks."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spatialprop.ops.backends import DRIVERS

_Function = Callable[..., Any]


class Operator(NamedTuple):
    """A registered operator."""

    backends: tuple[str, ...]
    call: _Function  # works under the transforms of torch.func too, which torch.ops.spatialprop.NAME does not


def register(
    name: str, package: str, *, schema: str, backward_schema: str, shapes: _Function, backward_inputs: _Function
) -> Operator:
    """Register `spatialprop::NAME` and `spatialprop::NAME_backward` for every backend that `package` holds.

    A backend is a module named after a type of device, imported on the first call. Its functions `forward` and
    `backward` have the signatures of the two schemas.

    Args:
        name: Name of the operator.
        package: Where its backends are.
        schema: In: two tensors, then options. Out: the result, then tensors that only the backward pass reads.
        backward_schema: In: the gradient of the result, what `backward_inputs` returns, and whether the gradients of
            the first and of the second tensor are needed. Out: these two; one that is not needed has shape (0,).
        shapes: The operator on tensors without data.
        backward_inputs: Called as `backward_inputs(inputs, extra_outputs, needs)`.
    """
    ops, backends = torch.ops.spatialprop, tuple(device for device in DRIVERS if find_spec(f"{package}.{device}"))
    parts = {"forward": (name, schema, shapes), "backward": (f"{name}_backward", backward_schema, _shapes_of_gradients)}
    for part, (its_name, its_schema, fake) in parts.items():
        full_name = f"spatialprop::{its_name}"
        torch.library.define(full_name, its_schema, tags=torch.Tag.pt2_compliant_tag)
        for device in backends:
            torch.library.impl(full_name, device, _kernel(f"{package}.{device}", part))
        torch.library.register_fake(full_name, fake)
        torch.library.register_vmap(full_name, partial(_join_with_batch, getattr(ops, its_name)))

    def refuse_second_derivatives(*_: Any) -> None:
        raise RuntimeError(
            f"the compiled backends of {name} have first derivatives only; for second ones "
            f"(create_graph=True, gradient penalties, Hessians) call {name}(..., backend='naive')"
        )

    def refuse_forward_mode(*_: Any) -> None:
        raise RuntimeError(
            f"the compiled backends of {name} have no forward-mode derivatives (torch.func.jvp, jacfwd, hessian); "
            f"call {name}(..., backend='naive')"
        )

    def save_nothing(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    def save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        extra = output[1:] if isinstance(output, tuple) else ()
        ctx.options = inputs[2:]
        ctx.mark_non_differentiable(*extra)
        ctx.set_materialize_grads(False)  # zeros for the extra outputs would cost as much as the gradient itself
        ctx.save_for_backward(*inputs[:2], *extra)

    def differentiate(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        no_grads = (None,) * len(ctx.options)
        if grad is None:
            return None, None, *no_grads
        first, second, *extra = ctx.saved_tensors
        needs = ctx.needs_input_grad[:2]
        grads = backward(grad, *backward_inputs((first, second, *ctx.options), extra, needs), *needs)
        return *(grad if need else None for grad, need in zip(grads, needs, strict=True)), *no_grads

    torch.library.register_autograd(f"spatialprop::{name}", differentiate, setup_context=save)
    torch.library.register_autograd(
        f"spatialprop::{name}_backward", refuse_second_derivatives, setup_context=save_nothing
    )
    backward = _caller(getattr(ops, f"{name}_backward"), save_nothing, refuse_second_derivatives, refuse_forward_mode)
    return Operator(backends, _caller(getattr(ops, name), save, differentiate, refuse_forward_mode))


def _kernel(module: str, part: str) -> _Function:
    return lambda *inputs: getattr(import_module(module), part)(*inputs)


def _shapes_of_gradients(grad: Tensor, first: Tensor, second: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    needs = rest[-2:]
    return tuple(one.new_empty(one.shape if need else (0,)) for one, need in zip((first, second), needs, strict=True))


def _join_with_batch(
    op: _Function, info: Any, in_dims: tuple[int | None, ...], *inputs: Any
) -> tuple[Any, int | tuple[int, ...]]:
    """Call an operator on mapped inputs, with the mapped dimension joined to the batch, the first of each tensor."""
    size = info.batch_size

    def join(value: Any, dim: int | None) -> Any:
        if not isinstance(value, Tensor):
            return value
        return (value.expand(size, *value.shape) if dim is None else value.movedim(dim, 0)).flatten(0, 1)

    def part(tensor: Tensor) -> Tensor:
        return tensor.view(size, tensor.shape[0] // size, *tensor.shape[1:])

    outputs = op(*map(join, inputs, in_dims))
    return (part(outputs), 0) if isinstance(outputs, Tensor) else (tuple(map(part, outputs)), (0,) * len(outputs))


def _caller(op: _Function, save: _Function, differentiate: _Function, refuse_forward_mode: _Function) -> _Function:
    """A function that calls a registered operator.

    PyTorch gives registered operators no derivatives under torch.func, and drops tangents without a word. It gives
    both to an autograd.Function, which torch.compile and torch.export in turn should not see.
    """

    class Eager(torch.autograd.Function):
        forward = staticmethod(lambda *inputs: op(*inputs))
        setup_context = staticmethod(save)
        backward = staticmethod(differentiate)
        jvp = staticmethod(refuse_forward_mode)

        @staticmethod
        def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, int | tuple[int, ...]]:
            return _join_with_batch(Eager.apply, info, in_dims, *inputs)

    def call(*inputs: Any) -> Any:
        if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            return op(*inputs)
        return Eager.apply(*inputs)  # type: ignore[no-untyped-call]

    return call
