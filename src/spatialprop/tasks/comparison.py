"""Scores of several methods on the same images."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spatialprop.data import VOID, LabelSet
from spatialprop.metrics import (
    HelenFScores,
    MethodScores,
    RefinementChanges,
    SegmentationScores,
    correct_near_borders,
    has_faces,
)

# Image (H, W, 3) and coarse probabilities (K, H, W) in, labels (H, W) out.
Baseline = Callable[[NDArray[np.uint8], NDArray[np.float32]], NDArray[np.integer[Any]]]

ORACLE_RADIUS = 8
ORACLE = f"oracle_{ORACLE_RADIUS}px"


class Comparison(nn.Module):
    """Scores of the coarse maps, of each method that refines them, and of an oracle that corrects pixels near borders.

    Where the classes are those of HELEN, each method also gets the columns of its table, under `helen`.

    Args:
        labels: The classes.
        refined: Names of the methods whose results are passed to `update`.
        baselines: Further methods, which this class runs itself on the same images.
    """

    def __init__(self, labels: LabelSet, refined: tuple[str, ...], baselines: Mapping[str, Baseline]) -> None:
        super().__init__()
        self.baselines = dict(baselines)
        options: dict[str, Any] = {"ignore_index": VOID, "scored_classes": labels.scored_classes}
        self.scores = {
            method: MethodScores(len(labels.classes), **options) for method in ("coarse", *refined, *baselines, ORACLE)
        }
        self.changes = {method: RefinementChanges(ignore_index=VOID) for method in (*refined, *baselines)}
        methods = self.scores if has_faces(labels.classes) else ()
        self.faces = {method: HelenFScores(ignore_index=VOID) for method in methods}
        # Registered, so that the metrics move to the module's device.
        self._metrics = nn.ModuleList([*self.scores.values(), *self.changes.values(), *self.faces.values()])
        self.seconds: dict[str, list[float]] = {method: [] for method in ("coarse", *self.changes)}

    @contextmanager
    def timed(self, method: str, device: torch.device) -> Iterator[None]:
        """Count the time of the enclosed code as the time that `method` takes for one image."""
        start = now(device)
        yield
        self.seconds[method].append(now(device) - start)

    def update(self, image: Tensor, coarse: Tensor, label: Tensor, refined: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Add one image (1, 3, H, W), its coarse probabilities (1, K, H, W), its label and results (1, H, W).

        Returns:
            The labels of every method.
        """
        labels = {"coarse": coarse.argmax(dim=1), **refined}
        for method, baseline in self.baselines.items():
            pixels = (image[0].permute(1, 2, 0) * 255).round().byte().cpu().numpy()
            probabilities = coarse[0].float().cpu().numpy()
            with self.timed(method, torch.device("cpu")):
                result = baseline(pixels, probabilities)
            labels[method] = torch.from_numpy(result.astype(np.int64))[None].to(label.device)
        labels[ORACLE] = correct_near_borders(labels["coarse"], label, radius=ORACLE_RADIUS, ignore_index=VOID)
        for method, scores in self.scores.items():
            scores.update(labels[method], label)
        for method, faces in self.faces.items():
            faces.update(labels[method], label)
        for method, changes in self.changes.items():
            changes.update(labels["coarse"], labels[method], label)
        return labels

    def reset(self) -> None:
        """Forget all images."""
        metrics: list[Any] = [*self.scores.values(), *self.changes.values(), *self.faces.values()]
        for metric in metrics:
            metric.reset()
        for seconds in self.seconds.values():
            seconds.clear()

    def compute(self) -> dict[str, Any]:
        """The content of `metrics.json`."""
        results: dict[str, Any] = {method: scores.compute() for method, scores in self.scores.items()}
        for method, faces in self.faces.items():
            results[method]["helen"] = {kind: numbers(columns) for kind, columns in faces.compute().items()}
        for method, changes in self.changes.items():
            results[method]["changes"] = numbers(changes.compute())
        for method, seconds in self.seconds.items():
            if seconds:
                results[method]["milliseconds"] = 1000 * median(seconds)
        return results


class Validation(nn.Module):
    """The mIoU of each method during training."""

    def __init__(self, labels: LabelSet, methods: tuple[str, ...]) -> None:
        super().__init__()
        self._scores = {
            method: SegmentationScores(len(labels.classes), ignore_index=VOID, scored_classes=labels.scored_classes)
            for method in methods
        }
        self._metrics = nn.ModuleList(self._scores.values())

    def update(self, label: Tensor, scores: Mapping[str, Tensor]) -> None:
        """Add class scores (N, K, H, W) of each method, and the label (N, H, W)."""
        for method, class_scores in scores.items():
            self._scores[method].update(class_scores.argmax(dim=1), label)

    def compute_and_reset(self) -> dict[str, Tensor]:
        """`val/<method>_mIoU` for each method."""
        results = {f"val/{method}_mIoU": scores.compute()["mIoU"] for method, scores in self._scores.items()}
        for scores in self._scores.values():
            scores.reset()
        return results


def numbers(shares: Mapping[str, Tensor]) -> dict[str, float | None]:
    """Shares as `metrics.json` holds them: null where there was nothing to divide by."""
    return {name: None if share.isnan() else share.item() for name, share in shares.items()}


def now(device: torch.device) -> float:
    """Seconds on a clock, once the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
