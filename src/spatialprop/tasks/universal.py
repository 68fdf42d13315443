"""Several trained refinements of the same coarse maps, tested side by side."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from spatialprop.tasks.base import Parts, Task
from spatialprop.tasks.refine import Refine, keep_classes_of


class Universal(Task):
    """Refine coarse maps that the refinements were not trained on. Nothing is fitted here.

    Each refinement gets every image and its coarse map; the baselines see them once.

    Args:
        parts: Classes and baselines are used.
        refinements: Trained tasks by the names that their results get.
    """

    takes_coarse = True

    def __init__(self, parts: Parts, refinements: Mapping[str, Refine]) -> None:
        taken = {"coarse", *parts.baselines} & refinements.keys()
        if taken:
            raise ValueError(f"the name {min(taken)!r} is taken; give that run another, as in run={{my_name:DIR}}")
        restricted = {refinement.restrict for refinement in refinements.values()}
        if len(restricted) != 1:
            raise ValueError(
                "some of these runs restrict their classes to those of the coarse map and others do not, which is no "
                "fair comparison; say restrict=true or restrict=false"
                if refinements
                else "give at least one run"
            )
        super().__init__(parts, nn.ModuleList(refinements.values()), tuple(refinements))
        self.refinements = dict(refinements)
        self.restrict = restricted.pop()

    @property
    def segmenter(self) -> nn.Module | None:
        """The frozen segmenter whose coarse maps are refined: that of the first run."""
        return next(iter(self.refinements.values())).segmenter

    def test_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        image, first = batch["image"], next(iter(self.refinements.values()))
        coarse = batch["coarse"] if "coarse" in batch else first.segment(image)
        chosen = {}
        for name, refinement in self.refinements.items():
            with self.comparison.timed(name, self.device):
                chosen[name] = refinement.refine(image, coarse).argmax(dim=1)
        given = keep_classes_of(coarse, coarse.log()).exp() if self.restrict else coarse
        labels = self.comparison.update(image, given, batch["label"], chosen)
        return {"labels": labels, "coarse": coarse}
