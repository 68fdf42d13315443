"""How a task's optimiser and its schedule are put together."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from spatialprop.nn.published import load_state
from spatialprop.tasks import schedules


@dataclass(frozen=True)
class Optimization:
    """An optimiser, the course of its learning rate, and how much slower pretrained layers learn.

    Args:
        optimizer: Makes the optimiser, given its parameter groups.
        schedule: Share of the learning rate for a share of the training, see `schedules`.
        pretrained_factor: Share of the learning rate for the layers that a network calls pretrained.
    """

    optimizer: Callable[[Iterable[Any]], Optimizer]
    schedule: Callable[[float], float] = schedules.constant
    pretrained_factor: float = 1.0

    def configure(self, network: nn.Module, trainer: pl.Trainer) -> Any:
        """What `LightningModule.configure_optimizers` returns."""
        pretrained = {id(parameter) for parameter in pretrained_parameters(network)}
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        optimizer = self.optimizer(
            [
                {"params": [parameter for parameter in trained if id(parameter) not in pretrained]},
                {"params": [parameter for parameter in trained if id(parameter) in pretrained]},
            ]
        )
        optimizer.param_groups[1]["lr"] *= self.pretrained_factor

        def share_left(step: int) -> float:
            # Not asked for at the start: Lightning would load the data to count it, before it restores a checkpoint,
            # and workers would begin with the first batch of all.
            return self.schedule(min(1.0, step / trainer.estimated_stepping_batches) if step else 0.0)

        scheduler = LambdaLR(optimizer, share_left)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def pretrained_parameters(network: nn.Module) -> list[nn.Parameter]:
    """Parameters of the parts that say of themselves, by `pretrained_parameters()`, that they come with weights."""
    return [
        parameter
        for module in network.modules()
        for parameter in getattr(module, "pretrained_parameters", tuple)()
        if parameter.requires_grad
    ]


def freeze(network: nn.Module) -> None:
    """Keep a network as it is: no gradients, no running statistics."""
    network.eval()
    for parameter in network.parameters():
        parameter.requires_grad_(False)


def restore(network: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Load weights, and say by name what does not fit."""
    try:
        load_state(network, state)
    except ValueError as error:
        raise ValueError(f"the weights do not fit the network that the config describes: {error}") from None
