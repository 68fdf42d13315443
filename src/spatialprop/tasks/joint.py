"""Train a segmenter and the propagation on top of it together."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from spatialprop.nn import JointNetwork, RefinementNetwork
from spatialprop.tasks.base import Parts, Task, check_weight
from spatialprop.tasks.windows import Windows


class Joint(Task):
    """Fit a segmenter through the propagation that refines its output.

    Args:
        parts: All are used.
        share_trunk: Read the guidance from the segmenter's features, not from the image by a network of its own.
        coarse_weight: Weight of the same loss on the coarse output, which keeps it a segmentation of its own.
        window, overlap: See `Windows`.
        settings: See `Task`.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        share_trunk: bool = False,
        coarse_weight: float = 0.5,
        window: int | None = None,
        overlap: int = 128,
        **settings: Any,
    ) -> None:
        check_weight("coarse_weight", coarse_weight)
        network = JointNetwork(parts.segmenter_to_train(), None if share_trunk else parts.guidance, **parts.propagation)
        super().__init__(parts, network, ("refined",), windows=Windows(window, overlap), **settings)
        self.coarse_weight = coarse_weight

    @property
    def trained_segmenter(self) -> nn.Module:
        return cast(nn.Module, self.network.segmenter)

    @property
    def refinement(self) -> RefinementNetwork | None:
        return None if self.network.shares_trunk else self.network.refinement

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

    def predict(self, batch: Any) -> dict[str, Tensor]:
        both = self.windows(lambda window: torch.cat(self(window), dim=1), batch["image"])
        coarse, refined = both.chunk(2, dim=1)
        return {"coarse": coarse, "refined": refined}

    def test_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        with self.comparison.timed("refined", self.device):
            scores = self.predict(batch)
            chosen = scores["refined"].argmax(dim=1)
        probabilities = {method: log_probabilities.exp() for method, log_probabilities in scores.items()}
        labels = self.comparison.update(batch["image"], probabilities["coarse"], batch["label"], {"refined": chosen})
        return {"labels": labels, **probabilities}

    def affinity_of(self, image: Tensor, coarse: Tensor, pixel: tuple[int, int]) -> Tensor:
        """How much each pixel of the coarse map adds to the result at `pixel`. (H, W)"""
        return self.windows.affinity(self.network.affinity, pixel, image)
