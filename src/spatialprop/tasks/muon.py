"""Muon (Jordan et al., 2024): momentum whose matrices are made orthogonal, for the weights of convolutions."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class Muon(Optimizer):
    """Muon for matrices, Adam for whatever has one dimension.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate; steps are as large as AdamW's of the same rate.
        momentum: Of the matrices.
        weight_decay: Of the matrices.
        betas: Of Adam.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 3e-3,
        momentum: float = 0.95,
        weight_decay: float = 0.1,
        betas: tuple[float, float] = (0.9, 0.98),
    ) -> None:
        if not lr > 0 or not 0 <= momentum < 1 or weight_decay < 0:
            raise ValueError(
                f"lr must be above 0, momentum from 0 to below 1, weight_decay at least 0; got {lr}, {momentum}, "
                f"{weight_decay}"
            )
        settings = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "betas": tuple(betas)}
        super().__init__(params, settings)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step; `closure`, if given, computes the gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    (self._matrix if weight.dim() > 1 else self._vector)(weight, group)
        return loss

    def _matrix(self, weight: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        moving = state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
        assert weight.grad is not None
        update = orthogonal(weight.grad.lerp(moving, group["momentum"]).flatten(1))
        update *= max(1.0, len(update) / update.shape[1]) ** 0.5 * 0.2 * math.sqrt(max(update.shape))
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.add_(update.view_as(weight), alpha=-group["lr"])

    def _vector(self, weight: Tensor, group: dict[str, Any]) -> None:
        state, (first, second) = self.state[weight], group["betas"]
        if not state:
            state.update(step=torch.tensor(0.0), mean=torch.zeros_like(weight), square=torch.zeros_like(weight))
        assert weight.grad is not None
        state["step"] += 1
        step = float(state["step"])
        mean = state["mean"].lerp_(weight.grad, 1 - first) / (1 - first**step)
        square = state["square"].lerp_(weight.grad.square(), 1 - second) / (1 - second**step)
        weight.addcdiv_(mean, square.sqrt_().add_(1e-8), value=-group["lr"])


def orthogonal(matrix: Tensor) -> Tensor:
    """About the nearest orthogonal matrix, by five Newton-Schulz steps in bfloat16."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.bfloat16()
    x = x / (x.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(5):
        y = x @ x.T
        y = torch.addmm(y, y, y, beta=b, alpha=c)
        x = torch.addmm(x, y, x, beta=a)
    return (x.T if tall else x).to(matrix.dtype)
