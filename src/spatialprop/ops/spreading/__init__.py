"""`spread`: check the input, choose the backend; and the registered operator behind the compiled ones.

Each backend module offers two functions, `forward` and `backward`, with the signatures below. Nothing but the two
inputs is kept for the backward pass, which makes the steps once more.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spatialprop.ops.backends import choose_backend
from spatialprop.ops.contract import autocast, check_affinity, check_integer
from spatialprop.ops.spreading import naive as naive_spread
from spatialprop.ops.spreading.pairs import check_neighbourhood


def spread(
    x: Tensor, affinity: Tensor, dilations: Sequence[int], kernel: int = 3, steps: int = 10, backend: str = "auto"
) -> Tensor:
    """Average each pixel with its neighbours at several dilations, weighted by affinity, again and again.

    In each step every pixel p takes the weighted average of itself, with weight 1, and its neighbours p_k inside the
    image; what lies outside counts neither above nor below the line::

        h(p) <- (h(p) + sum_k a_k(p) h(p_k)) / (1 + sum_k a_k(p))

    So with affinities from 0 up the result stays within the range of the map, and a constant map stays as it is.
    Negative affinities are not checked for: with them a step is no average, may leave the range of the map, and divides
    by zero where they sum to -1.

    Args:
        x: The map, (N, C, H, W), float64, float32, bfloat16 or float16, any strides.
        affinity: (N, P, H, W), same dtype and device, P = len(dilations) * (kernel**2 - 1): neighbours in row-major
            order within a dilation, dilations in their order, as `neighbour_labels` has them. All channels share it.
        dilations: Distinct distances between neighbours, in pixels.
        kernel: Odd side of the square in which neighbours lie.
        steps: How many steps; 0 copies the map, and is no function of the affinity. Without gradients the memory does
            not grow with them. The backward pass makes the steps again and holds a map of each, in the state's type;
            two calls of n steps hold half as many as one of 2 n.
        backend: "auto", "naive" (plain PyTorch, every device, twice differentiable), "cpu" (compiled) or "cuda"
            (CuPy, at most 256 neighbours).

    Returns:
        The map after the last step, (N, C, H, W), in the dtype of the input. In between it is float64 for float64 and
        float32 for the rest. Under autocast both inputs are cast to the autocast dtype first (float64 stays).

    Example:
        >>> import torch
        >>> from spatialprop.ops import spread
        >>> x = torch.tensor([[[[1.0, 0.0, 0.0, 0.0]]]])
        >>> affinity = torch.zeros(1, 8, 1, 4)
        >>> affinity[:, 3] = 1  # of the neighbour to the left
        >>> spread(x, affinity, dilations=[1], steps=2)
        tensor([[[[1.0000, 0.7500, 0.2500, 0.0000]]]])
    """
    check_neighbourhood(dilations, kernel)
    check_integer("steps", steps, 0)
    x, affinity = autocast(x), autocast(affinity)
    check_affinity(x, affinity, len(dilations) * (kernel**2 - 1))
    chosen = choose_backend(backend, x, affinity)
    if steps == 0:
        return x.clone(memory_format=torch.contiguous_format)
    if chosen == "naive":
        return naive_spread.spread(x, affinity, dilations, kernel, steps)
    out: Tensor = _spread(x, affinity, list(dilations), kernel, steps)
    return out


@torch.library.custom_op(
    "spatialprop::spread",
    mutates_args=(),
    device_types="cpu",
    schema="(Tensor x, Tensor affinity, int[] dilations, int kernel, int steps) -> Tensor",
)
def _spread(x: Tensor, affinity: Tensor, dilations: Sequence[int], kernel: int, steps: int) -> Tensor:
    from spatialprop.ops.spreading.cpu import launch as cpu_spread

    return cpu_spread.forward(x, affinity, dilations, kernel, steps)


@_spread.register_kernel("cuda")
def _(x: Tensor, affinity: Tensor, dilations: Sequence[int], kernel: int, steps: int) -> Tensor:
    from spatialprop.ops.spreading import cuda as cuda_spread

    return cuda_spread.forward(x, affinity, dilations, kernel, steps)


@_spread.register_fake
def _(x: Tensor, affinity: Tensor, dilations: Sequence[int], kernel: int, steps: int) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.custom_op(
    "spatialprop::spread_backward",
    mutates_args=(),
    device_types="cpu",
    schema="(Tensor grad, Tensor x, Tensor affinity, int[] dilations, int kernel, int steps, "
    "bool need_x, bool need_affinity) -> (Tensor, Tensor)",
)
def _spread_backward(
    grad: Tensor,
    x: Tensor,
    affinity: Tensor,
    dilations: Sequence[int],
    kernel: int,
    steps: int,
    need_x: bool,
    need_affinity: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients with respect to `x` and `affinity`; one that is not needed comes back empty, shape (0,)."""
    from spatialprop.ops.spreading.cpu import launch as cpu_spread

    return cpu_spread.backward(grad, x, affinity, dilations, kernel, steps, need_x, need_affinity)


@_spread_backward.register_kernel("cuda")
def _(
    grad: Tensor,
    x: Tensor,
    affinity: Tensor,
    dilations: Sequence[int],
    kernel: int,
    steps: int,
    need_x: bool,
    need_affinity: bool,
) -> tuple[Tensor, Tensor]:
    from spatialprop.ops.spreading import cuda as cuda_spread

    return cuda_spread.backward(grad, x, affinity, dilations, kernel, steps, need_x, need_affinity)


@_spread_backward.register_fake
def _(
    grad: Tensor,
    x: Tensor,
    affinity: Tensor,
    dilations: Sequence[int],
    kernel: int,
    steps: int,
    need_x: bool,
    need_affinity: bool,
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape if need_x else (0,)), affinity.new_empty(affinity.shape if need_affinity else (0,))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, affinity, ctx.dilations, ctx.kernel, ctx.steps = inputs
    ctx.save_for_backward(x, affinity)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    need_x, need_affinity = ctx.needs_input_grad[:2]
    grad_x, grad_affinity = _spread_backward(
        grad, *ctx.saved_tensors, ctx.dilations, ctx.kernel, ctx.steps, need_x, need_affinity
    )
    return grad_x if need_x else None, grad_affinity if need_affinity else None, None, None, None


_spread.register_autograd(_differentiate, setup_context=_keep)


def _refuse(ctx: Any, *grads: Any) -> None:
    raise RuntimeError(
        "the compiled backends of spread have first derivatives only; for second ones "
        "(create_graph=True, gradient penalties, Hessians) call spread(..., backend='naive')"
    )


_spread_backward.register_autograd(_refuse)
