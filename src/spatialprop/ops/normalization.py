"""`normalize_gates`: from raw network output to gates under which propagation is stable."""

from collections.abc import Callable

import torch
from torch import Tensor

from spatialprop.ops.contract import autocast, check_connection, check_floating, state_dtype

MODES = ("clamp", "unit", "stochastic", "tanh", "sigmoid")
ONE_WAY_MODES = ("tanh", "sigmoid")


def normalize_gates(raw: Tensor, mode: str = "clamp") -> Tensor:
    """Make raw gates (N, D, K, G, H, W) safe to propagate with, over their connections K.

    Stable means that the absolute gates of a pixel sum to at most 1. Then a disturbance of one line never grows from
    line to line (the paper's Theorem 3), and |h_t| <= (2t - 1) max|x| after t lines. It does not bound the response
    to every input: a gate of -1 and a map that alternates in sign grow with every line. Where gates are also never
    negative, h stays between the smallest and the largest value of x, however large the map.

    ============  =========================================  ======  =======================
    mode          what it does                               stable  keeps h in the range of x
    ============  =========================================  ======  =======================
    "clamp"       divide by max(1, sum of absolute values)   yes     only where raw gates are >= 0
    "unit"        divide by the sum of absolute values;      yes     only where raw gates are >= 0
                  all zeros stay zeros
    "stochastic"  sigmoid, then divide by max(1, sum)        yes     yes
    "tanh"        tanh, K = 1 only                           yes     no
    "sigmoid"     sigmoid, K = 1 only                        yes     yes
    ============  =========================================  ======  =======================

    "unit" takes a sum too small for a normal number for zero: its inverse, which is the gradient, would overflow.

    "clamp" is the default everywhere, one-way too, so that one-way and three-way differ in the connection alone.
    Division happens in at least float32, and its result is shrunk by what rounding to the output's dtype can add: three
    thirds rounded to bfloat16 would sum to 1.002 and grow by a factor of 3e8 over 10,000 lines. So normalise in the
    dtype that propagates: under autocast that happens by itself; converting the result to a smaller dtype undoes it.

    Example:
        >>> import torch
        >>> from spatialprop import normalize_gates
        >>> raw = torch.tensor([2.0, -1.0, 1.0]).view(1, 1, 3, 1, 1, 1)
        >>> normalize_gates(raw).flatten()
        tensor([ 0.5000, -0.2500,  0.2500])
    """
    check_floating("raw gates", raw)
    if raw.dim() != 6:
        raise ValueError(
            f"raw gates must be (N, D, K, G, H, W); got {raw.dim()} dimensions, {tuple(raw.shape)}. Network output "
            f"of shape (N, D*K*G, H, W) becomes that with .unflatten(1, (D, K, G))"
        )
    check_connection(raw)
    check_mode(mode, raw)
    raw = autocast(raw)  # as propagate will: rounding after normalising could undo it
    return normalize_wide(raw, mode).to(raw.dtype)


def normalize_wide(raw: Tensor, mode: str) -> Tensor:
    """Normalise in the dtype of the running state, and leave the result in it."""
    return _NORMALIZERS[mode](raw.to(state_dtype(raw.dtype)), shrinkage(raw.dtype))


def check_mode(mode: str, raw: Tensor, name: str = "mode") -> None:
    """Refuse an unknown mode, and one that does not suit the connection of the gates."""
    if mode not in MODES:
        raise ValueError(f"{name} must be one of {', '.join(MODES)}; got {mode!r}")
    if mode in ONE_WAY_MODES and raw.shape[2] != 1:
        raise ValueError(
            f"{name} {mode!r} keeps each gate in range by itself and is stable for K = 1 only; got K = {raw.shape[2]}. "
            f"Use 'clamp', 'unit' or 'stochastic'"
        )


def shrinkage(dtype: torch.dtype) -> float:
    """What gates sum to at most: 1, less what may be rounded up in three gates, their sum and the division."""
    return 1 - torch.finfo(dtype).eps / 2 - 4 * torch.finfo(state_dtype(dtype)).eps


def _clamp(gates: Tensor, shrink: float) -> Tensor:
    total = gates.abs().sum(2, keepdim=True)
    within = total <= 1  # false for NaN, which takes the whole pixel with it
    return torch.where(within, gates, gates / torch.where(within, 1, total) * shrink)


def _unit(gates: Tensor, shrink: float) -> Tensor:
    total = gates.abs().sum(2, keepdim=True)
    return gates / torch.where(total < torch.finfo(total.dtype).tiny, 1, total) * shrink


def _stochastic(raw: Tensor, shrink: float) -> Tensor:
    gates = raw.sigmoid()
    return gates / (gates.sum(2, keepdim=True) / shrink).clamp(min=1)


_NORMALIZERS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "clamp": _clamp,
    "unit": _unit,
    "stochastic": _stochastic,
    "tanh": lambda raw, _: raw.tanh(),
    "sigmoid": lambda raw, _: raw.sigmoid(),
}
