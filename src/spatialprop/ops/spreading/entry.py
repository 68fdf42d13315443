"""`spread`: check the input, choose the backend."""

from collections.abc import Sequence

import torch
from torch import Tensor

from spatialprop.ops.backends import choose_backend
from spatialprop.ops.contract import autocast, check_affinity, check_integer
from spatialprop.ops.spreading import naive
from spatialprop.ops.spreading.operator import OPERATOR
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
    chosen = choose_backend(backend, OPERATOR.backends, x, affinity)
    if steps == 0:
        return x.clone(memory_format=torch.contiguous_format)
    if chosen == "naive":
        return naive.spread(x, affinity, dilations, kernel, steps)
    out: Tensor = OPERATOR.call(x, affinity, list(dilations), kernel, steps)
    return out
