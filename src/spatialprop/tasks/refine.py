"""Train the propagation on the coarse maps of a frozen segmenter."""

from typing import Any, cast

import torch
from torch import Tensor

from spatialprop.nn import RefinementNetwork
from spatialprop.nn.refinement import winning_classes
from spatialprop.tasks.base import Parts, Task
from spatialprop.tasks.windows import Windows


class Refine(Task):
    """Fit a network that refines coarse maps.

    Args:
        parts: Guidance, propagation, classes and optimization are used.
        restrict: In tests, let no class come out that is nowhere the most likely one in the coarse map; the baselines
            are given no such class either.
        window, overlap: See `Windows`.
        settings: See `Task`.
    """

    takes_coarse = True

    def __init__(
        self, parts: Parts, *, restrict: bool = False, window: int | None = None, overlap: int = 128, **settings: Any
    ) -> None:
        network = RefinementNetwork(parts.guidance, **parts.propagation)
        super().__init__(parts, network, ("refined",), windows=Windows(window, overlap), **settings)
        self.restrict = restrict

    @property
    def refinement(self) -> RefinementNetwork:
        return cast(RefinementNetwork, self.network)

    def forward(self, image: Tensor, coarse: Tensor) -> Tensor:
        """Refined log-probabilities. (N, K, H, W)"""
        return cast(Tensor, self.network(image, coarse))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.loss(self(batch["image"], batch["coarse"]), batch["label"])
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def predict(self, batch: Any) -> dict[str, Tensor]:
        return {"coarse": batch["coarse"], "refined": self.windows(self, batch["image"], batch["coarse"])}

    def test_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        image, coarse = batch["image"], batch["coarse"]
        with self.comparison.timed("refined", self.device):
            refined = self.refine(image, coarse)
            chosen = refined.argmax(dim=1)
        given = keep_classes_of(coarse, coarse.log()).exp() if self.restrict else coarse
        labels = self.comparison.update(image, given, batch["label"], {"refined": chosen})
        return {"labels": labels, "coarse": coarse, "refined": refined.exp()}

    def refine(self, image: Tensor, coarse: Tensor) -> Tensor:
        """Log-probabilities as they are tested: in windows if asked for, restricted if asked for. (N, K, H, W)"""
        refined = self.windows(self, image, coarse)
        return keep_classes_of(coarse, refined) if self.restrict else refined

    def affinity_of(self, image: Tensor, coarse: Tensor, pixel: tuple[int, int]) -> Tensor:
        """How much each pixel of the coarse map adds to the result at `pixel`. (H, W)"""
        return self.windows.affinity(self.network.affinity, pixel, image, coarse)


def keep_classes_of(coarse: Tensor, log_probabilities: Tensor) -> Tensor:
    """Give the probability of classes that are nowhere the most likely one in `coarse` to the other classes.

    Both are (N, K, H, W), and so is the result.

    Example:
        >>> coarse = torch.tensor([0.9, 0.1]).view(1, 2, 1, 1)
        >>> keep_classes_of(coarse, torch.tensor([0.4, 0.6]).log().view(1, 2, 1, 1)).argmax(dim=1).item()
        0
    """
    present = winning_classes(coarse.argmax(dim=1), coarse.shape[1])
    return log_probabilities.masked_fill(~present[..., None, None], -torch.inf).log_softmax(dim=1)
