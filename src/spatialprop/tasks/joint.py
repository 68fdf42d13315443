"""Train a segmenter and the propagation on top of it together."""

from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from spatialprop.baselines import Baseline
from spatialprop.data import LabelSet
from spatialprop.nn.joint import JointNetwork
from spatialprop.ops.contract import check_number
from spatialprop.tasks.comparison import Comparison, Validation
from spatialprop.tasks.losses import cross_entropy
from spatialprop.tasks.optimization import Optimization
from spatialprop.tasks.windows import Windows


class Joint(pl.LightningModule):
    """Fit a segmenter through the propagation that mends its output.

    Args:
        network: An image in, coarse and refined log-probabilities out.
        labels: The classes.
        optimization: How it is trained.
        loss: Log-probabilities and labels in, a number out.
        coarse_weight: Weight of the same loss on the coarse output, which keeps it a segmentation of its own.
        baselines: What it is compared with on the test images.
        windows: How large images are taken apart when validating and testing; by default they are not.
    """

    monitor = "val/refined_mIoU"

    def __init__(
        self,
        network: JointNetwork,
        labels: LabelSet,
        optimization: Optimization,
        loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
        coarse_weight: float = 0.5,
        baselines: Mapping[str, Baseline] | None = None,
        windows: Windows | None = None,
    ) -> None:
        super().__init__()
        check_number("task.coarse_weight", coarse_weight, positive=False)
        self.network = network
        self.labels = labels
        self.optimization = optimization
        self.loss = loss
        self.coarse_weight = coarse_weight
        self.windows = windows or Windows()
        self.validation = Validation(labels, ("coarse", "refined"))
        self.results: dict[str, Any] = {}  # what `metrics.json` holds, once tested
        self.comparison = Comparison(labels, ("refined",), baselines or {})

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Coarse and refined log-probabilities. (N, K, H, W) each"""
        coarse, refined = self.network(image)
        return coarse, refined

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        coarse, refined = self(batch["image"])
        loss = self.loss(refined, batch["label"])
        if self.coarse_weight:
            coarse_loss = self.loss(coarse, batch["label"])
            self.log("train/coarse_loss", coarse_loss)
            loss = loss + self.coarse_weight * coarse_loss
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        coarse, refined = self._in_windows(batch["image"])
        self.validation.update(batch["label"], {"coarse": coarse, "refined": refined})

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.validation.compute_and_reset(), prog_bar=True)

    def on_test_epoch_start(self) -> None:
        self.comparison.reset()

    def test_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        image = batch["image"]
        with self.comparison.timed("refined", self.device):
            coarse, refined = self._in_windows(image)
            chosen = refined.argmax(dim=1)
        labels = self.comparison.update(image, coarse.exp(), batch["label"], {"refined": chosen})
        return {"labels": labels, "coarse": coarse.exp(), "refined": refined.exp()}

    def _in_windows(self, image: Tensor) -> tuple[Tensor, Tensor]:
        both = self.windows(lambda part: torch.cat(self(part), dim=1), image)
        coarse, refined = both.chunk(2, dim=1)
        return coarse, refined

    def affinity_of(self, image: Tensor, coarse: Tensor, pixel: tuple[int, int]) -> Tensor:
        """What the pixel listens to. (H, W)"""
        return self.windows.affinity(self.network.affinity, pixel, image)

    def on_test_epoch_end(self) -> None:
        self.results = self.comparison.compute()  # here, while the processes can still be asked for their share

    def configure_optimizers(self) -> Any:
        return self.optimization.configure(self.network, self.trainer)
