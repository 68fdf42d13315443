"""Several trained refinements of the same coarse maps, tested side by side."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from torch import nn

from spatialprop.baselines import Baseline
from spatialprop.data import LabelSet
from spatialprop.tasks.comparison import Comparison
from spatialprop.tasks.refine import Refine, keep_classes_of


class Universal(pl.LightningModule):
    """Refine coarse maps that the refinements were not trained on: nothing is fitted here.

    Each refinement gets every image and its coarse map; the baselines see them once.

    Args:
        refinements: Trained tasks by the names that their results get.
        labels: The classes.
        baselines: What they are compared with.
    """

    def __init__(
        self, refinements: Mapping[str, Refine], labels: LabelSet, baselines: Mapping[str, Baseline] | None = None
    ) -> None:
        super().__init__()
        ours = {"coarse", *(baselines or {})} & refinements.keys()
        if ours:
            raise ValueError(f"the name {min(ours)!r} is taken; call that run otherwise, as in run={{my_name:DIR}}")
        restricted = {refinement.restrict for refinement in refinements.values()}
        if len(restricted) != 1:
            raise ValueError(
                "some of these runs restrict their classes to those of the coarse map and others do not, which is no "
                "fair comparison; say restrict=true or restrict=false"
                if refinements
                else "give at least one run"
            )
        self.refinements = dict(refinements)
        self.labels = labels
        self.restrict = restricted.pop()
        self.results: dict[str, Any] = {}  # what `metrics.json` holds, once tested
        self.comparison = Comparison(labels, tuple(refinements), baselines or {})
        self._moved_along = nn.ModuleList(refinements.values())

    def on_test_epoch_start(self) -> None:
        self.comparison.reset()

    def test_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        image, coarse = batch["image"], batch["coarse"]
        chosen = {}
        for name, refinement in self.refinements.items():
            with self.comparison.timed(name, self.device):
                chosen[name] = refinement.refine(image, coarse).argmax(dim=1)
        given = keep_classes_of(coarse, coarse.log()).exp() if self.restrict else coarse
        labels = self.comparison.update(image, given, batch["label"], chosen)
        return {"labels": labels, "coarse": coarse}

    def on_test_epoch_end(self) -> None:
        self.results = self.comparison.compute()  # here, while the processes can still be asked for their share
