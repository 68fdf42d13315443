"""What a test says of affinities and of the propagation along them, beside the scores of every method."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from spatialprop.data import VOID, LabelSet
from spatialprop.metrics import AffinityScores, ErrorRegions, ImageEffects, RefinementChanges, SegmentationScores
from spatialprop.metrics.affinity import NEAR_BORDER
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
from spatialprop.ops.contract import is_integer
from spatialprop.tasks.comparison import numbers
from spatialprop.tasks.dilated_affinity_loss import labels_on_grid


class Diagnosis(nn.Module):
    """The accuracy of affinities, what each number of steps changes, and what becomes of images and regions of errors.

    Args:
        network: What is tested; it is looked at, not kept.
        labels: The classes.
        curve: Numbers of steps to look at, besides 0, which changes nothing but where the scores have another grid.
    """

    def __init__(self, network: DilatedAffinityNetwork, labels: LabelSet, curve: Sequence[int]) -> None:
        super().__init__()
        if not isinstance(curve, Sequence) or isinstance(curve, str):
            raise TypeError(f"task.curve must be a list of numbers of steps, such as [1,2,5]; got {curve!r}")
        if not all(is_integer(count) and count >= 1 for count in curve):
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
        self._moved_along = nn.ModuleList([*self.changes, *self.scores])

    def update(self, network: DilatedAffinityNetwork, scores: Tensor, seen: Prediction, label: Tensor) -> Tensor | None:
        """Add images whose truth is `label` (N, H, W).

        Returns:
            On the grid of the pairs, how strongly each pixel is tied to a neighbour of another class at the smallest
            dilation, zero where it has none: (N, h, w), None without a head.
        """
        missed = None
        if self.affinity is not None and network.head is not None and seen.pairs is not None:
            dilations, kernel = network.head.dilations, network.head.kernel
            affinity = both_ends(seen.pairs.sigmoid(), dilations, kernel)
            cells = labels_on_grid(label, seen.pairs.shape[-2:])
            truth = neighbour_labels(cells, dilations, kernel, VOID)
            self.affinity.update(affinity, truth, near_border(cells))
            nearest = dilations.index(min(dilations))
            each = slice(nearest * (kernel**2 - 1), (nearest + 1) * (kernel**2 - 1))
            missed = torch.where(truth[:, each] == 0, affinity[:, each], 0).amax(1)
            if self.images is not None and seen.refined is not None:
                self.images.update(seen.coarse.argmax(1), seen.refined.argmax(1), label, affinity, truth)
        if self.regions is not None and seen.refined is not None:
            before = seen.coarse.argmax(1)
            self.regions.update(before, seen.refined.argmax(1), label)
            for count, refined in zip(range(len(self.steps)), self._after_steps(network, scores, seen), strict=True):
                self.changes[count].update(before, refined, label)
                self.scores[count].update(refined, label)
        return missed

    def _after_steps(self, network: DilatedAffinityNetwork, scores: Tensor, seen: Prediction) -> Iterator[Tensor]:
        """Labels after each number of steps, every step made once."""
        if network.propagation is None or seen.pairs is None:
            return
        x, weights = on_grid(scores, seen.pairs), network.propagation.weights(seen.pairs)
        for before, after in pairwise([0, *self.steps]):
            x = network.propagation.run(x, weights, after - before)
            yield as_log_probabilities(x, seen.coarse.shape[-2:]).argmax(1)

    def reset(self) -> None:
        """Forget all images."""
        for metric in (self.affinity, self.regions, self.images, *self.changes, *self.scores):
            if metric is not None:
                metric.reset()

    def compute(self) -> dict[str, dict[str, Any]]:
        """What is added to `metrics.json`: to "coarse" the affinity, to "refined" steps, regions, images."""
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
    """Which pixels of `label` (N, H, W) have another class, void being none, at a chessboard distance up to `radius`.

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
        """What `network` says of one image, and the scores of its segmenter, taking the time of each part."""
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
        start = _now(device)
        yield
        self.seconds.setdefault(part, []).append(_now(device) - start)

    def reset(self) -> None:
        """Forget all images."""
        self.seconds.clear()
        self._counted.clear()

    def compute(self) -> dict[str, Any]:
        """Size of the first image, for which operations are counted; median time over all images, of whatever size."""
        milliseconds = {part: 1000 * median(seconds) for part, seconds in self.seconds.items()}
        return {**self._counted, "milliseconds": milliseconds}


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
