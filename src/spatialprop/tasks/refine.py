"""Train the propagation on the coarse maps of a frozen segmenter."""

from typing import Any, cast

import torch
from torch import Tensor

from spatialprop.nn import RefinementNetwork
from spatialprop.nn.refinement import winning_classes
from spatialprop.nn.resize import resize
from spatialprop.nn.segmenters import coarse_probabilities
from spatialprop.tasks.base import Parts, Task
from spatialprop.tasks.optimization import freeze
from spatialprop.tasks.windows import Windows


class Refine(Task):
    """A frozen coarse segmenter, a guidance network and a propagation layer, composed.

    The guidance network and the propagation are trained; they make up `network`. The segmenter is in the checkpoints
    too, but it never changes. Where the data module hands out coarse maps that were computed before, training takes
    those (`segmenter.cache`); otherwise the segmenter makes them in the step, from the same augmented patch that the
    guidance network sees.

    Args:
        parts: All are used; without a segmenter, coarse maps come from files.
        map_stride: Pixels to a cell of the segmenter's maps, or more if it gives coarser ones.
        restrict: In tests, let no class come out that is nowhere the most likely one in the coarse map; the baselines
            are given no such class either.
        window, overlap: See `Windows`.
        settings: See `Task`.
    """

    takes_coarse = True

    def __init__(
        self,
        parts: Parts,
        *,
        map_stride: int = 8,
        restrict: bool = False,
        window: int | None = None,
        overlap: int = 128,
        **settings: Any,
    ) -> None:
        network = RefinementNetwork(parts.guidance, **parts.propagation)
        super().__init__(parts, network, ("refined",), windows=Windows(window, overlap), **settings)
        self.segmenter = None if parts.segmenter is None else freeze(parts.segmenter())
        self.map_stride = map_stride
        self.restrict = restrict

    @property
    def refinement(self) -> RefinementNetwork:
        return cast(RefinementNetwork, self.network)

    def forward(self, image: Tensor, coarse: Tensor | None = None) -> Tensor:
        """Refined log-probabilities; without a coarse map, that of the segmenter is refined. (N, K, H, W)"""
        coarse = self.segment(image) if coarse is None else coarse  # the frozen segmenter
        return cast(Tensor, self.network(image, coarse))  # the guidance network and the propagation layer

    @torch.no_grad()
    def segment(self, image: Tensor) -> Tensor:
        """The frozen segmenter's probabilities at the image's size. (N, K, H, W)"""
        if self.segmenter is None:
            raise ValueError("this module holds no segmenter: its coarse maps came from files; give it coarse maps")
        return resize(coarse_probabilities(self.segmenter, image, self.map_stride), image.shape[-2:])

    def train(self, mode: bool = True) -> "Refine":
        super().train(mode)
        if self.segmenter is not None:
            self.segmenter.eval()  # its statistics and its dropout stand still
        return self

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.loss(self(batch["image"], batch.get("coarse")), batch["label"])
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def predict(self, batch: Any) -> dict[str, Tensor]:
        image = batch["image"]
        coarse = batch["coarse"] if "coarse" in batch else self.segment(image)
        return {"coarse": coarse, "refined": self.windows(self, image, coarse)}

    def test_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        image, coarse = batch["image"], batch.get("coarse")
        if coarse is None:
            with self.comparison.timed("coarse", self.device):
                coarse = self.segment(image)
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

    def scores(self, image: Tensor) -> Tensor:
        return self.refine(image, self.segment(image))

    def affinity_of(self, image: Tensor, coarse: Tensor, pixel: tuple[int, int]) -> Tensor:
        """How much each pixel of the coarse map adds to the result at `pixel`. (H, W)"""
        return self.windows.affinity(self.network.affinity, pixel, image, coarse)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take a checkpoint of a version that kept the segmenter beside it, in the run's folder."""
        state = checkpoint["state_dict"]
        if self.segmenter is not None and not any(name.startswith("segmenter.") for name in state):
            state.update({f"segmenter.{name}": value for name, value in self.segmenter.state_dict().items()})


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
