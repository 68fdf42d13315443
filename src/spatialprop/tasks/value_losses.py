"""Losses of dense maps of values, over the pixels that were not known."""

from torch import Tensor


def value_loss(
    result: Tensor, truth: Tensor, confidence: Tensor, *, power: float = 1.0, gradient: float = 0.0
) -> Tensor:
    """Mean of the error to some power, where the confidence is below 1.

    Args:
        result, truth: Maps (N, C, H, W).
        confidence: What was known (N, 1, H, W).
        power: 1 for absolute, 2 for square errors.
        gradient: Weight of the same loss on the differences of neighbours, across and down.

    Example:
        >>> import torch
        >>> half, known = torch.full((1, 1, 2, 2), 0.5), torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
        >>> value_loss(half, torch.zeros(1, 1, 2, 2), known, power=2).item()
        0.25
    """
    if power <= 0 or gradient < 0:
        raise ValueError(f"power must be above 0 and gradient at least 0; got {power} and {gradient}")
    unknown = (confidence < 1).to(result.dtype)
    error = result - truth
    total = _mean(error, unknown, power)
    if gradient:
        for dim in (-1, -2):
            length = error.shape[dim] - 1
            steps = error.narrow(dim, 1, length) - error.narrow(dim, 0, length)
            total = total + gradient * _mean(steps, unknown.narrow(dim, 1, length), power)
    return total


def _mean(error: Tensor, counted: Tensor, power: float) -> Tensor:
    sizes = error.abs() if power == 1 else error.abs().pow(power)
    return (sizes * counted).sum() / (counted.sum() * error.shape[1]).clamp_min(1)
