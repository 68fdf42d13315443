"""Train a coarse segmenter."""

from typing import Any, cast

from torch import Tensor, nn

from spatialprop.nn.resize import resize
from spatialprop.tasks.base import Parts, Task, check_weight
from spatialprop.tasks.losses import edge_loss
from spatialprop.tasks.windows import Windows


class Segment(Task):
    """Fit a network that gives class scores at its own resolution; loss and scores are taken at the image's.

    With an `edge_weight` it is fitted to two objectives, as the paper's face parser is: classes, and the edges between
    them, which have an output of their own beside that of the classes. Edges serve to train the features alone: the
    output is in the checkpoints, so that a run resumes, but not in the weights that the run leaves.

    Args:
        parts: Segmenter, classes and optimization are used.
        edge_weight: Weight of the loss on edges; 0 for no such output.
        window, overlap: See `Windows`.
        settings: See `Task`.
    """

    def __init__(
        self, parts: Parts, *, edge_weight: float = 0.0, window: int | None = None, overlap: int = 128, **settings: Any
    ) -> None:
        check_weight("edge_weight", edge_weight)
        segmenter = parts.segmenter_to_train()
        if edge_weight and not hasattr(segmenter, "forward_with_features"):
            raise ValueError(
                f"{type(segmenter).__name__} does not hand out its features (no method forward_with_features), from "
                f"which edges are predicted: set task.edge_weight=0"
            )
        super().__init__(parts, segmenter, windows=Windows(window, overlap), **settings)
        self.edge_weight = edge_weight
        self.edges = nn.Conv2d(cast(int, segmenter.feature_channels), 1, 3, padding=1) if edge_weight else None

    @property
    def trained_segmenter(self) -> nn.Module:
        return cast(nn.Module, self.network)

    @property
    def trained(self) -> nn.Module:
        return self.network if self.edges is None else nn.ModuleList([self.network, self.edges])

    def forward(self, image: Tensor) -> Tensor:
        """Log-probabilities at the image's resolution. (N, K, H, W)"""
        return _log_probabilities(self.network(image), image)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        image, label = batch["image"], batch["label"]
        if self.edges is None:
            loss = self.loss(self(image), label)
        else:
            scores, features = self.network.forward_with_features(image)
            edges = edge_loss(self.edges(features), label)
            self.log("train/edge_loss", edges)
            loss = self.loss(_log_probabilities(scores, image), label) + self.edge_weight * edges
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def predict(self, batch: Any) -> dict[str, Tensor]:
        return {"coarse": self.windows(self, batch["image"])}

    def test_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        probabilities = self.windows(self, batch["image"]).exp()
        labels = self.comparison.update(batch["image"], probabilities, batch["label"], {})
        return {"labels": labels, "coarse": probabilities}


def _log_probabilities(scores: Tensor, image: Tensor) -> Tensor:
    return resize(scores.to(image.dtype), image.shape[-2:]).log_softmax(dim=1)
