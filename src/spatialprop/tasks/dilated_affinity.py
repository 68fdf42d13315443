"""Train a segmenter that also predicts dilated affinity, and propagate its segmentation along it."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from spatialprop.nn.dilated import AffinityPropagation, DilatedAffinityNetwork
from spatialprop.nn.refinement import jacobian_row
from spatialprop.nn.resize import resize
from spatialprop.tasks.base import Parts, Task, check_weight
from spatialprop.tasks.dilated_affinity_diagnosis import Cost, Diagnosis
from spatialprop.tasks.dilated_affinity_loss import balanced_affinity_loss, labels_on_grid


class DilatedAffinity(Task):
    """Fit a segmenter with or without an affinity head, and with or without propagation along its affinities.

    Args:
        parts: Segmenter, classes, optimization and baselines are used.
        propagation: "spread" or "scan", see `AffinityPropagation`; "none" for no propagation.
        dilations, kernel, stride, width: See `DilatedAffinityNetwork`.
        steps, power, own_weight, merge, backend: See `AffinityPropagation`.
        affinity_weight: Weight of the loss on affinities; 0 for none.
        train_through: Train the propagated segmentation, through the propagation; otherwise it is only tested.
        coarse_weight: Weight of the loss on the segmentation before the propagation, if the latter is trained through.
        background: The class of most pixels, for the balance of the loss on affinities; None if there is none.
        curve: Numbers of steps at which the test measures what the propagation has changed.
        settings: See `Task`.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        propagation: str = "spread",
        dilations: Sequence[int] = (1, 2, 4, 8),
        kernel: int = 3,
        stride: int | None = None,
        width: int = 16,
        steps: int = 10,
        power: float = 8.0,
        own_weight: float = 1.0,
        merge: str = "mean",
        backend: str = "auto",
        affinity_weight: float = 1.0,
        train_through: bool = True,
        coarse_weight: float = 1.0,
        background: int | None = None,
        curve: Sequence[int] = (1, 2, 5, 10, 20, 40),
        **settings: Any,
    ) -> None:
        check_weight("affinity_weight", affinity_weight)
        check_weight("coarse_weight", coarse_weight)
        if not isinstance(train_through, bool):
            raise TypeError(f"task.train_through must be true or false; got {train_through!r}")
        classes = len(parts.labels.classes)
        if background is not None and not (type(background) is int and 0 <= background < classes):
            raise ValueError(
                f"task.background must be the index of a class, 0 to {classes - 1}, or null where no class is a "
                f"background; got {background!r}"
            )
        propagates = propagation != "none"
        if not affinity_weight and propagates and not train_through:
            raise ValueError(
                "nothing would train the affinities: set task.affinity_weight above 0 or task.train_through=true, "
                "or leave them out: task.affinity_weight=0 task.propagation=none"
            )
        neighbourhood: dict[str, Any] = {"dilations": dilations, "kernel": kernel}
        averaging: dict[str, Any] = {"steps": steps, "power": power, "own_weight": own_weight, "merge": merge}
        network = DilatedAffinityNetwork(
            parts.segmenter_to_train(),
            head=propagates or affinity_weight != 0,
            propagation=AffinityPropagation(propagation, **neighbourhood, **averaging, backend=backend)
            if propagates
            else None,
            width=width,
            stride=stride,
            **neighbourhood,
        )
        super().__init__(parts, network, ("refined",) if propagates else (), **settings)
        self.affinity_weight = affinity_weight
        self.train_through = train_through and propagates
        self.coarse_weight = coarse_weight
        self.background = background
        if not self.train_through:
            # A result that is only tested must not choose the weights, or rows of an ablation would differ in that too.
            self.monitor = "val/coarse_mIoU"
        self.diagnosis = Diagnosis(network, parts.labels, curve)
        self.cost = Cost()

    @property
    def trained_segmenter(self) -> nn.Module:
        return cast(nn.Module, self.network.segmenter)

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

    def predict(self, batch: Any) -> dict[str, Tensor]:
        coarse, refined = self(batch["image"])
        return {"coarse": coarse} if refined is None else {"coarse": coarse, "refined": refined}

    def on_test_epoch_start(self) -> None:
        super().on_test_epoch_start()
        self.diagnosis.reset()
        self.cost.reset()

    def test_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        image, label = batch["image"], batch["label"]
        prediction, scores = self.cost.predict(self.network, image)
        chosen = {} if prediction.refined is None else {"refined": prediction.refined.argmax(dim=1)}
        labels = self.comparison.update(image, prediction.coarse.exp(), label, chosen)
        outputs = {"labels": labels, "coarse": prediction.coarse.exp()}
        if prediction.refined is not None:
            outputs["refined"] = prediction.refined.exp()
        missed_borders = self.diagnosis.update(self.network, scores, prediction, label)
        if missed_borders is not None:
            outputs["missed_borders"] = missed_borders
        return outputs

    @property
    def affinity_of(self) -> Callable[[Tensor, Tensor, tuple[int, int]], Tensor] | None:
        """The affinity (H, W) of a pixel, given image, coarse map and pixel; None if nothing propagates."""
        return None if self.network.propagation is None else self._affinity

    def _affinity(self, image: Tensor, coarse: Tensor, pixel: tuple[int, int]) -> Tensor:
        """How much each pixel of the coarse map adds to the result at `pixel`. (H, W)"""
        with torch.inference_mode(False):
            with torch.no_grad():
                pairs = self.network(image.clone(), propagate=False).pairs

            def propagated(maps: Tensor) -> Tensor:
                # Probabilities, not their logarithms, so that the affinities of a pixel sum to 1.
                return resize(self.network.propagation(resize(maps, pairs.shape[-2:]), pairs), maps.shape[-2:])

            return jacobian_row(propagated, coarse.clone(), pixel)

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        for method, found in self.diagnosis.compute().items():
            self.results[method] |= found
        cost = self.cost.compute()
        self.results["coarse"]["cost"] = cost
        if "refined" in self.results:
            self.results["refined"]["milliseconds"] = sum(cost["milliseconds"].values())
