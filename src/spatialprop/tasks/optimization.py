"""The optimizer of a task and its learning rate schedule."""

from collections.abc import Callable, Iterable, Mapping
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
    """An optimizer, a learning rate schedule, and a lower learning rate for pretrained layers.

    Args:
        optimizer: Makes the optimizer, given its parameter groups.
        schedule: Factor of the learning rate as a function of the share of the training done, see `schedules`.
        pretrained_factor: Factor of the learning rate for the pretrained layers of a network.
    """

    optimizer: Callable[[Iterable[Any]], Optimizer]
    schedule: Callable[[float], float] = schedules.constant
    pretrained_factor: float = 1.0

    def configure(self, network: nn.Module, trainer: pl.Trainer) -> Any:
        """The value that `LightningModule.configure_optimizers` must return."""
        pretrained = {id(parameter) for parameter in pretrained_parameters(network)}
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        optimizer = self.optimizer(
            [
                {"params": [parameter for parameter in trained if id(parameter) not in pretrained]},
                {"params": [parameter for parameter in trained if id(parameter) in pretrained]},
            ]
        )
        optimizer.param_groups[1]["lr"] *= self.pretrained_factor

        def factor(step: int) -> float:
            # At step 0, before Lightning restores a checkpoint, its estimate would already start the data's workers,
            # which would then begin at the first batch.
            return self.schedule(min(1.0, step / trainer.estimated_stepping_batches) if step else 0.0)

        scheduler = LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def pretrained_parameters(network: nn.Module) -> list[nn.Parameter]:
    """Trainable parameters of the modules that have a method `pretrained_parameters`."""
    return [
        parameter
        for module in network.modules()
        for parameter in getattr(module, "pretrained_parameters", tuple)()
        if parameter.requires_grad
    ]


def freeze(network: nn.Module) -> nn.Module:
    """Freeze a network: no gradients, no updates of running statistics."""
    return network.eval().requires_grad_(False)


def restore(network: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Load weights; an error names those that do not fit."""
    try:
        load_state(network, state)
    except ValueError as error:
        raise ValueError(f"the weights do not fit the network that the config describes: {error}") from None
