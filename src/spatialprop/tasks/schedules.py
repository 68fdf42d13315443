"""Learning rate schedules: the factor of the learning rate at a share of the training, both from 0 to 1."""

import math


def constant(progress: float) -> float:
    """Keep the learning rate."""
    return 1.0


def cosine(progress: float, *, warmup: float = 0.0, floor: float = 0.0) -> float:
    """Rise linearly during the first `warmup`, then fall along a cosine to `floor`.

    Example:
        >>> [round(cosine(progress, warmup=0.2), 2) for progress in (0, 0.1, 0.2, 0.6, 1)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup is a share of the training, at least 0 and less than 1; got {warmup}")
    if progress < warmup:
        return progress / warmup
    fallen = (progress - warmup) / (1 - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * fallen))


def trapezoid(progress: float, *, warmup: float = 0.0, fall: float = 0.3) -> float:
    """Rise linearly during the first `warmup`, stay, and fall linearly to nothing during the last `fall`.

    A run that goes on for longer takes up where the rate had not fallen yet.

    Example:
        >>> [round(trapezoid(progress, warmup=0.1, fall=0.4), 2) for progress in (0, 0.05, 0.5, 0.8, 1)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if not (0 <= warmup < 1 and 0 < fall <= 1):
        raise ValueError(f"warmup and fall are shares of the training; got {warmup} and {fall}")
    return min(1.0, progress / warmup if warmup else 1.0, (1 - progress) / fall)


def poly(progress: float, *, power: float = 0.9) -> float:
    """Fall as a power of (1 - progress), as in DeepLab."""
    return float((1 - progress) ** power)


def step(progress: float, *, every: float = 1 / 3, factor: float = 0.1) -> float:
    """Multiply by `factor` after each share `every` of the training."""
    return float(factor ** math.floor(progress / every + 1e-9))  # 0.3 / 0.1 is a little less than 3
