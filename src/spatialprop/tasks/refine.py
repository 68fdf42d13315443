"""Train the propagation on coarse maps that stay as they are."""

from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from spatialprop.baselines import Baseline
from spatialprop.data import LabelSet
from spatialprop.nn.refinement import RefinementNetwork
from spatialprop.tasks.comparison import Comparison, Validation
from spatialprop.tasks.losses import cross_entropy
from spatialprop.tasks.optimization import Optimization
from spatialprop.tasks.windows import Windows


class Refine(pl.LightningModule):
    """Fit a network that mends coarse maps.

    Args:
        network: Image and coarse probabilities in, log-probabilities out.
        labels: The classes.
        optimization: How it is trained.
        loss: Log-probabilities and labels in, a number out.
        baselines: What it is compared with on the test images.
        restrict: When testing, let no class come out that was nowhere the most likely one in the coarse map; what it is
            compared with is given no such class either.
        windows: How large images are taken apart when validating and testing; by default they are not.
    """

    monitor = "val/refined_mIoU"

    def __init__(
        self,
        network: RefinementNetwork,
        labels: LabelSet,
        optimization: Optimization,
        loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
        baselines: Mapping[str, Baseline] | None = None,
        restrict: bool = False,
        windows: Windows | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.labels = labels
        self.optimization = optimization
        self.loss = loss
        self.restrict = restrict
        self.windows = windows or Windows()
        self.validation = Validation(labels, ("coarse", "refined"))
        self.results: dict[str, Any] = {}  # what `metrics.json` holds, once tested
        self.comparison = Comparison(labels, ("refined",), baselines or {})

    def forward(self, image: Tensor, coarse: Tensor) -> Tensor:
        """Refined log-probabilities. (N, K, H, W)"""
        refined: Tensor = self.network(image, coarse)
        return refined

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.loss(self(batch["image"], batch["coarse"]), batch["label"])
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        refined = self.windows(self, batch["image"], batch["coarse"])
        self.validation.update(batch["label"], {"coarse": batch["coarse"], "refined": refined})

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.validation.compute_and_reset(), prog_bar=True)

    def on_test_epoch_start(self) -> None:
        self.comparison.reset()

    def test_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        image, coarse = batch["image"], batch["coarse"]
        with self.comparison.timed("refined", self.device):
            refined = self.refine(image, coarse)
            chosen = refined.argmax(dim=1)
        given = keep_classes_of(coarse, coarse.log()).exp() if self.restrict else coarse
        labels = self.comparison.update(image, given, batch["label"], {"refined": chosen})
        return {"labels": labels, "coarse": coarse, "refined": refined.exp()}

    def refine(self, image: Tensor, coarse: Tensor) -> Tensor:
        """Log-probabilities as they are tested: in windows if need be, restricted if asked for. (N, K, H, W)"""
        refined = self.windows(self, image, coarse)
        return keep_classes_of(coarse, refined) if self.restrict else refined

    def affinity_of(self, image: Tensor, coarse: Tensor, pixel: tuple[int, int]) -> Tensor:
        """What the pixel listens to. (H, W)"""
        return self.windows.affinity(self.network.affinity, pixel, image, coarse)

    def on_test_epoch_end(self) -> None:
        self.results = self.comparison.compute()  # here, while the processes can still be asked for their share

    def configure_optimizers(self) -> Any:
        return self.optimization.configure(self.network, self.trainer)


def keep_classes_of(coarse: Tensor, log_probabilities: Tensor) -> Tensor:
    """Share out, among the classes that are somewhere the most likely one in `coarse`, what the others have.

    Both are (N, K, H, W), and so is the result.

    Example:
        >>> coarse = torch.tensor([0.9, 0.1]).view(1, 2, 1, 1)
        >>> keep_classes_of(coarse, torch.tensor([0.4, 0.6]).log().view(1, 2, 1, 1)).argmax(dim=1).item()
        0
    """
    present = torch.zeros(coarse.shape[:2], dtype=torch.bool, device=coarse.device)
    present.scatter_(1, coarse.argmax(dim=1).flatten(1), True)
    return log_probabilities.masked_fill(~present[..., None, None], -torch.inf).log_softmax(dim=1)
