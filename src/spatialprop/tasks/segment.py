"""Train a coarse segmenter."""

from typing import Any, cast

from torch import Tensor, nn

from spatialprop.nn.resize import resize
from spatialprop.tasks.base import Parts, Task
from spatialprop.tasks.windows import Windows


class Segment(Task):
    """Fit a network that gives class scores at its own resolution; loss and scores are taken at the image's.

    Args:
        parts: Segmenter, classes and optimization are used.
        window, overlap: See `Windows`.
        settings: See `Task`.
    """

    def __init__(self, parts: Parts, *, window: int | None = None, overlap: int = 128, **settings: Any) -> None:
        super().__init__(parts, parts.segmenter_to_train(), windows=Windows(window, overlap), **settings)

    @property
    def trained_segmenter(self) -> nn.Module:
        return cast(nn.Module, self.network)

    def forward(self, image: Tensor) -> Tensor:
        """Log-probabilities at the image's resolution. (N, K, H, W)"""
        return resize(self.network(image).to(image.dtype), image.shape[-2:]).log_softmax(dim=1)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.loss(self(batch["image"]), batch["label"])
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def predict(self, batch: Any) -> dict[str, Tensor]:
        return {"coarse": self.windows(self, batch["image"])}

    def test_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        probabilities = self.windows(self, batch["image"]).exp()
        labels = self.comparison.update(batch["image"], probabilities, batch["label"], {})
        return {"labels": labels, "coarse": probabilities}
