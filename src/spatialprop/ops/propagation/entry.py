"""`propagate`: check the input, choose the backend."""

from collections.abc import Sequence

import torch
from torch import Tensor

from spatialprop.ops.backends import choose_backend
from spatialprop.ops.contract import DIRECTIONS, autocast, check_directions, check_inputs, check_merge
from spatialprop.ops.normalization import check_mode
from spatialprop.ops.propagation import naive
from spatialprop.ops.propagation.operator import OPERATOR


def propagate(
    x: Tensor,
    gates: Tensor,
    *,
    normalize: str | None = None,
    directions: Sequence[str] | None = None,
    merge: str = "max",
    backend: str = "auto",
) -> Tensor:
    """Spread a map along learned affinities, in one scan per direction.

    Along each direction, line after line, every pixel keeps ``1 - sum(gates)`` of its own value and takes the rest
    from its neighbours in the line scanned before::

        h = (1 - sum_k gate_k) * x + sum_k gate_k * neighbour_k

    A gate whose neighbour lies outside the image counts as zero and drops out of the sum, so ``h = x`` on the first
    line. The running state is float64 for float64 input and float32 for everything else.

    Args:
        x: The map, (N, C, H, W), float64, float32, bfloat16 or float16, any strides.
        gates: (N, D, K, G, H, W), same dtype and device. D: one block per direction. K: 1 (one-way) or 3
            (three-way: the neighbour at row or column -1, 0, +1 in image coordinates). G: divides C; channel c takes
            group ``c // (C / G)``.
        normalize: What makes raw network output safe: a mode of `normalize_gates`, whose result this equals within
            rounding, values and gradients, without a normalised copy of the gates. None takes gates as they are.
        directions: Distinct names of where information travels; by default ("right", "down", "left", "up").
        merge: "max" (node-wise maximum; where it ties the first direction gets the whole gradient), "mean", or
            "none", which returns (N, D, C, H, W).
        backend: "auto", "naive" (plain PyTorch, every device, twice differentiable), "cpu" (compiled) or "cuda"
            (CuPy).

    Returns:
        The propagated map, (N, C, H, W), in the dtype of the input. Under autocast both inputs are cast to the
        autocast dtype first (float64 stays, as everywhere in PyTorch).

    Example:
        >>> import torch
        >>> from spatialprop import normalize_gates, propagate
        >>> x = torch.tensor([[[[1.0, 0.0, 0.0, 0.0]]]])
        >>> gates = torch.full((1, 1, 1, 1, 1, 4), 0.5)
        >>> propagate(x, gates, directions=["right"])
        tensor([[[[1.0000, 0.5000, 0.2500, 0.1250]]]])
    """
    names = check_directions(directions)
    check_merge(merge)
    x, gates = autocast(x), autocast(gates)
    check_inputs(x, gates, names)
    if normalize is not None:
        check_mode(normalize, gates, "normalize")
    if choose_backend(backend, OPERATOR.backends, x, gates) == "naive":
        return naive.propagate(x, gates, names, merge, normalize)
    keep = torch.is_grad_enabled() and (x.requires_grad or gates.requires_grad)
    out: Tensor
    out, *_ = OPERATOR.call(x, gates, [DIRECTIONS.index(name) for name in names], merge, keep, normalize)
    return out
