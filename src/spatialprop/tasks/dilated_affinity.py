"""Train a segmenter that also predicts dilated affinity, and propagate its segmentation along that."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from spatialprop.baselines import Baseline
from spatialprop.data import LabelSet
from spatialprop.nn.dilated import DilatedAffinityNetwork
from spatialprop.nn.refinement import resize
from spatialprop.ops.contract import check_number, is_integer
from spatialprop.tasks.comparison import Comparison, Validation
from spatialprop.tasks.dilated_affinity_diagnosis import Cost, Diagnosis
from spatialprop.tasks.dilated_affinity_loss import balanced_affinity_loss, labels_on_grid
from spatialprop.tasks.losses import cross_entropy
from spatialprop.tasks.optimization import Optimization


class DilatedAffinity(pl.LightningModule):
    """Fit a segmenter with or without an affinity head, and with or without propagation along its affinities.

    Args:
        network: An image in, segmentation, affinities and propagated segmentation out.
        labels: The classes.
        optimization: How it is trained.
        loss: Log-probabilities and labels in, a number out.
        affinity_weight: Weight of the loss on affinities; 0 for none.
        train_through: Whether the propagated segmentation is trained, through the propagation; or else it is only
            tested.
        coarse_weight: Weight of the loss on what goes into the propagation, where that is trained through.
        background: The class that most pixels are of, for the balance of the loss on affinities; None if there is none.
        curve: Numbers of steps at which the test says what the propagation has changed.
        baselines: What it is compared with on the test images.
    """

    def __init__(
        self,
        network: DilatedAffinityNetwork,
        labels: LabelSet,
        optimization: Optimization,
        loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
        *,
        affinity_weight: float = 1.0,
        train_through: bool = True,
        coarse_weight: float = 1.0,
        background: int | None = None,
        curve: tuple[int, ...] = (1, 2, 5, 10, 20, 40),
        baselines: Mapping[str, Baseline] | None = None,
    ) -> None:
        super().__init__()
        propagates = network.propagation is not None
        check_number("task.affinity_weight", affinity_weight, positive=False)
        check_number("task.coarse_weight", coarse_weight, positive=False)
        if not isinstance(train_through, bool):
            raise TypeError(f"task.train_through must be true or false; got {train_through!r}")
        if background is not None and not (is_integer(background) and 0 <= background < len(labels.classes)):
            raise ValueError(
                f"task.background must be the index of a class, 0 to {len(labels.classes) - 1}, or null where no class "
                f"is a background; got {background!r}"
            )
        if affinity_weight and network.head is None:
            raise ValueError("a loss on affinities needs a network with an affinity head")
        if not affinity_weight and network.head is not None and not (propagates and train_through):
            raise ValueError(
                "nothing would train the affinities: set task.affinity_weight above 0 or task.train_through=true, "
                "or leave them out: task.affinity_weight=0 task.propagation=none"
            )
        self.network = network
        self.labels = labels
        self.optimization = optimization
        self.loss = loss
        self.affinity_weight = affinity_weight
        self.train_through = train_through and propagates
        self.coarse_weight = coarse_weight
        self.background = background
        methods = ("refined",) if propagates else ()
        # What is only tested must not choose the weights, or rows of an ablation would differ in that too.
        self.monitor = "val/refined_mIoU" if self.train_through else "val/coarse_mIoU"
        self.validation = Validation(labels, ("coarse", *methods))
        self.results: dict[str, Any] = {}  # what `metrics.json` holds, once tested
        self.comparison = Comparison(labels, methods, baselines or {})
        self.diagnosis = Diagnosis(network, labels, curve)
        self.cost = Cost()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """Coarse and, where something propagates, refined log-probabilities. (N, K, H, W) each"""
        prediction = self.network(image)
        return prediction.coarse, prediction.refined

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        label = batch["label"]
        network = self.network
        coarse, pairs, refined = network(batch["image"], propagate=self.train_through)
        loss = self.loss(coarse, label)
        if refined is not None:
            self.log("train/coarse_loss", loss)
            loss = self.loss(refined, label) + self.coarse_weight * loss
        if self.affinity_weight and network.head is not None:
            on_grid = labels_on_grid(label, pairs.shape[-2:])
            dilations, kernel = network.head.dilations, network.head.kernel
            affinity_loss = balanced_affinity_loss(pairs, on_grid, dilations, kernel, self.background)
            self.log("train/affinity_loss", affinity_loss)
            loss = loss + self.affinity_weight * affinity_loss
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        coarse, refined = self(batch["image"])
        scores = {"coarse": coarse} if refined is None else {"coarse": coarse, "refined": refined}
        self.validation.update(batch["label"], scores)

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.validation.compute_and_reset(), prog_bar=True)

    def on_test_epoch_start(self) -> None:
        self.comparison.reset()
        self.diagnosis.reset()
        self.cost.reset()

    def test_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        image, label = batch["image"], batch["label"]
        seen, scores = self.cost.predict(self.network, image)
        chosen = {} if seen.refined is None else {"refined": seen.refined.argmax(dim=1)}
        labels = self.comparison.update(image, seen.coarse.exp(), label, chosen)
        outputs = {"labels": labels, "coarse": seen.coarse.exp()}
        if seen.refined is not None:
            outputs["refined"] = seen.refined.exp()
        missed_borders = self.diagnosis.update(self.network, scores, seen, label)
        if missed_borders is not None:
            outputs["missed_borders"] = missed_borders
        return outputs

    @property
    def affinity_of(self) -> Callable[[Tensor, Tensor, tuple[int, int]], Tensor] | None:
        """What a pixel listens to, (H, W), given image, coarse map and pixel; None if nothing propagates."""
        return None if self.network.propagation is None else partial(_affinity, self.network)

    def on_test_epoch_end(self) -> None:
        self.results = self.comparison.compute()  # here, while the processes can still be asked for their share
        for method, found in self.diagnosis.compute().items():
            self.results[method] |= found
        cost = self.cost.compute()
        self.results["coarse"]["cost"] = cost
        if "refined" in self.results:
            self.results["refined"]["milliseconds"] = sum(cost["milliseconds"].values())

    def configure_optimizers(self) -> Any:
        return self.optimization.configure(self.network, self.trainer)


def _affinity(network: DilatedAffinityNetwork, image: Tensor, coarse: Tensor, pixel: tuple[int, int]) -> Tensor:
    """How much each pixel of the coarse map adds to the class that `pixel` comes out as. (H, W)"""
    if network.propagation is None:
        raise RuntimeError("a network without propagation has no affinity between far pixels")
    with torch.inference_mode(False):
        image, coarse = image.clone(), coarse.clone()
        with torch.no_grad():
            pairs = network(image, propagate=False).pairs
        with torch.enable_grad():
            coarse = coarse.requires_grad_()
            # Averages of probabilities, not of their logarithms: what is heard then adds up to 1.
            shares = network.propagation(resize(coarse, pairs.shape[-2:]), pairs)
            at_pixel = resize(shares, coarse.shape[-2:])[0, :, pixel[0], pixel[1]]
            winner = int(at_pixel.argmax())
            (gradient,) = torch.autograd.grad(at_pixel[winner], coarse)
    return gradient[0, winner]
