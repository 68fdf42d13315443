"""Train a coarse segmenter."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from torch import Tensor, nn

from spatialprop.data import LabelSet
from spatialprop.nn.refinement import resize
from spatialprop.tasks.comparison import Comparison, Validation
from spatialprop.tasks.losses import cross_entropy
from spatialprop.tasks.optimization import Optimization
from spatialprop.tasks.windows import Windows


class Segment(pl.LightningModule):
    """Fit a network that gives class scores at its own resolution; loss and scores are taken at the image's.

    Args:
        network: An image (N, 3, H, W) in, scores (N, K, h, w) out.
        labels: The classes.
        optimization: How it is trained.
        loss: Log-probabilities and labels in, a number out.
        windows: How large images are taken apart when validating and testing; by default they are not.
    """

    monitor = "val/coarse_mIoU"

    def __init__(
        self,
        network: nn.Module,
        labels: LabelSet,
        optimization: Optimization,
        loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
        windows: Windows | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.labels = labels
        self.optimization = optimization
        self.loss = loss
        self.windows = windows or Windows()
        self.validation = Validation(labels, ("coarse",))
        self.results: dict[str, Any] = {}  # what `metrics.json` holds, once tested
        self.comparison = Comparison(labels, (), {})

    def forward(self, image: Tensor) -> Tensor:
        """Log-probabilities at the image's resolution. (N, K, H, W)"""
        return resize(self.network(image).to(image.dtype), image.shape[-2:]).log_softmax(dim=1)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.loss(self(batch["image"]), batch["label"])
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.validation.update(batch["label"], {"coarse": self.windows(self, batch["image"])})

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.validation.compute_and_reset(), prog_bar=True)

    def on_test_epoch_start(self) -> None:
        self.comparison.reset()

    def test_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        probabilities = self.windows(self, batch["image"]).exp()
        labels = self.comparison.update(batch["image"], probabilities, batch["label"], {})
        return {"labels": labels, "coarse": probabilities}

    def on_test_epoch_end(self) -> None:
        self.results = self.comparison.compute()  # here, while the processes can still be asked for their share

    def configure_optimizers(self) -> Any:
        return self.optimization.configure(self.network, self.trainer)
