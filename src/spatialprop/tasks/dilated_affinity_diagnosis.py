"""Test results of affinities and of the propagation along them, besides the scores of every method."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from spatialprop.data import VOID, LabelSet
from spatialprop.metrics import (
    NEAR_BORDER,
    AffinityScores,
    ErrorRegions,
    ImageEffects,
    RefinementChanges,
    SegmentationScores,
)
from spatialprop.nn.dilated import (
    DilatedAffinityNetwork,
    Prediction,
    as_log_probabilities,
    both_ends,
    flops,
    log_probabilities,
    on_grid,
    parameters,
)
from spatialprop.ops import neighbour_labels
from spatialprop.tasks.comparison import now, numbers
from spatialprop.tasks.dilated_affinity_loss import labels_on_grid


class Diagnosis(nn.Module):
    """The accuracy of affinities, the effect of each number of steps, and the effect on images and regions of errors.

    Args:
        network: The network under test; no reference to it is kept.
        labels: The classes.
        curve: Numbers of steps to measure, besides 0, which only resamples scores that lie on another grid.
    """

    def __init__(self, network: DilatedAffinityNetwork, labels: LabelSet, curve: Sequence[int]) -> None:
        super().__init__()
        if not isinstance(curve, Sequence) or isinstance(curve, str):
            raise TypeError(f"task.curve must be a list of numbers of steps, such as [1,2,5]; got {curve!r}")
        if not all(type(count) is int and count >= 1 for count in curve):
            raise ValueError(f"task.curve must hold numbers of steps, integers from 1 up; got {list(curve)}")
        self.affinity = None if network.head is None else AffinityScores(network.head.dilations)
        self.regions = None if network.propagation is None else ErrorRegions(VOID)
        self.images = None if network.propagation is None else ImageEffects(VOID)
        self.steps = [] if network.propagation is None else [0, *sorted(set(curve))]
        self.changes = [RefinementChanges(VOID) for _ in self.steps]
        self.scores = [
            SegmentationScores(len(labels.classes), ignore_index=VOID, scored_classes=labels.scored_classes)
            for _ in self.steps
        ]
        self._metrics = nn.ModuleList([*self.changes, *self.scores])

    def update(
        self, network: DilatedAffinityNetwork, scores: Tensor, prediction: Prediction, label: Tensor
    ) -> Tensor | None:
        """Add images with their `label` (N, H, W).

        Returns:
            The highest affinity of each pixel with a neighbour of another class at the smallest dilation, on the grid
            of the pairs; zero where there is none. (N, h, w), None without a head.
        """
        missed = None
        if self.affinity is not None and network.head is not None and prediction.pairs is not None:
            dilations, kernel = network.head.dilations, network.head.kernel
            affinity = both_ends(prediction.pairs.sigmoid(), dilations, kernel)
            cells = labels_on_grid(label, prediction.pairs.shape[-2:])
            truth = neighbour_labels(cells, dilations, kernel, VOID)
            self.affinity.update(affinity, truth, near_border(cells))
            nearest = dilations.index(min(dilations))
            each = slice(nearest * (kernel**2 - 1), (nearest + 1) * (kernel**2 - 1))
            missed = torch.where(truth[:, each] == 0, affinity[:, each], 0).amax(1)
            if self.images is not None and prediction.refined is not None:
                self.images.update(prediction.coarse.argmax(1), prediction.refined.argmax(1), label, affinity, truth)
        if self.regions is not None and prediction.refined is not None:
            before = prediction.coarse.argmax(1)
            self.regions.update(before, prediction.refined.argmax(1), label)
            for count, refined in zip(
                range(len(self.steps)), self._after_steps(network, scores, prediction), strict=True
            ):
                self.changes[count].update(before, refined, label)
                self.scores[count].update(refined, label)
        return missed

    def _after_steps(self, network: DilatedAffinityNetwork, scores: Tensor, prediction: Prediction) -> Iterator[Tensor]:
        """Labels after each number of steps; no step is computed twice."""
        if network.propagation is None or prediction.pairs is None:
            return
        x, weights = on_grid(scores, prediction.pairs), network.propagation.weights(prediction.pairs)
        for before, after in pairwise([0, *self.steps]):
            x = network.propagation.run(x, weights, after - before)
            yield as_log_probabilities(x, prediction.coarse.shape[-2:]).argmax(1)

    def reset(self) -> None:
        """Forget all images."""
        for metric in (self.affinity, self.regions, self.images, *self.changes, *self.scores):
            if metric is not None:
                metric.reset()

    def compute(self) -> dict[str, dict[str, Any]]:
        """Further content of `metrics.json`: affinity for "coarse"; steps, regions and images for "refined"."""
        found: dict[str, dict[str, Any]] = {}
        if self.affinity is not None:
            found["coarse"] = {"affinity": self.affinity.compute()}
        if self.regions is not None and self.images is not None:
            steps = {
                str(count): numbers({"mIoU": scores.compute()["mIoU"], **changes.compute()})
                for count, changes, scores in zip(self.steps, self.changes, self.scores, strict=True)
            }
            regions, images = self.regions.compute(), self.images.compute()
            found["refined"] = {"steps": steps, "error_regions": regions, "images": images}
        return found


def near_border(label: Tensor, radius: int = NEAR_BORDER) -> Tensor:
    """Mark the pixels of `label` (N, H, W) with another class, other than void, within a chessboard distance `radius`.

    Example:
        >>> near_border(torch.tensor([[[VOID, 0, 0, 0, 1, VOID]]]))
        tensor([[[False, False,  True,  True,  True, False]]])
    """
    return (neighbour_labels(label, (1,), 2 * radius + 1, VOID) == 0).any(1)


class Cost:
    """Parameters, operations and time of each part of a network, for one image."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}
        self._counted: dict[str, Any] = {}

    def predict(self, network: DilatedAffinityNetwork, image: Tensor) -> tuple[Prediction, Tensor]:
        """The network's prediction for one image, and the scores of its segmenter; each part is timed."""
        if not self._counted:
            self._counted = {
                "size": list(image.shape[-2:]),
                "parameters": parameters(network),
                "FLOPs": flops(network, image),
            }
        pairs = refined = None
        size = image.shape[-2:]
        with self._timed("segmenter", image.device):
            scores, features = network.segment(image)
            coarse = log_probabilities(scores, size)
        if network.head is not None:
            with self._timed("head", image.device):
                pairs = network.head(features, network.grid(scores, size))
            if network.propagation is not None:
                with self._timed("propagation", image.device):
                    refined = network.refine(scores, pairs, size)
        return Prediction(coarse, pairs, refined), scores

    @contextmanager
    def _timed(self, part: str, device: torch.device) -> Iterator[None]:
        start = now(device)
        yield
        self.seconds.setdefault(part, []).append(now(device) - start)

    def reset(self) -> None:
        """Forget all images."""
        self.seconds.clear()
        self._counted.clear()

    def compute(self) -> dict[str, Any]:
        """Operations for the first image, with its size, and the median time over all images."""
        milliseconds = {part: 1000 * median(seconds) for part, seconds in self.seconds.items()}
        return {**self._counted, "milliseconds": milliseconds}
