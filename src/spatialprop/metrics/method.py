"""All scores of one method: the coarse maps, the refined ones, or a baseline."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from spatialprop.metrics.boundary import BoundaryIoU, TrimapIoU
from spatialprop.metrics.scores import SegmentationScores


class MethodScores(nn.Module):
    """Every score that a method is compared by, as plain numbers for `metrics.json`.

    It moves to a device with the module that holds it, and its `compute` gathers all processes.

    Args:
        num_classes: Number of classes K; labels are 0 to K - 1.
        ignore_index: Label of void pixels in the truth. Predictions hold no void.
        scored_classes: Indices that means average over, by default all.
        radii: Distances of the trimap curve.

    Example:
        >>> import torch
        >>> from spatialprop.metrics import MethodScores
        >>> scores = MethodScores(3, ignore_index=255, radii=(1, 2))
        >>> labels = torch.eye(8, dtype=torch.int64).unsqueeze(0)
        >>> scores.update(labels, labels)
        >>> scores.compute()["trimap_IoU"], scores.compute()["per_class_IoU"]
        ({'1': 1.0, '2': 1.0}, [1.0, 1.0, None])
    """

    def __init__(
        self,
        num_classes: int,
        *,
        ignore_index: int | None = None,
        scored_classes: Sequence[int] | None = None,
        radii: Iterable[int] = range(1, 21),
    ) -> None:
        super().__init__()
        self.segmentation = SegmentationScores(num_classes, ignore_index=ignore_index, scored_classes=scored_classes)
        self.boundary = BoundaryIoU(num_classes, ignore_index=ignore_index, scored_classes=scored_classes)
        self.trimap = TrimapIoU(num_classes, ignore_index=ignore_index, scored_classes=scored_classes, radii=radii)

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Add label maps (N, H, W)."""
        for metric in (self.segmentation, self.boundary, self.trimap):
            metric.update(pred, target)

    def compute(self) -> dict[str, Any]:
        """mIoU, pixel_accuracy, mean_accuracy, boundary_IoU, per_class_IoU, trimap_IoU; None where undefined."""
        segmentation = self.segmentation.compute()
        return {
            **{name: _number(segmentation[name]) for name in ("mIoU", "pixel_accuracy", "mean_accuracy")},
            "boundary_IoU": _number(self.boundary.compute()["boundary_IoU"]),
            "per_class_IoU": [_number(value) for value in segmentation["per_class_IoU"]],
            "trimap_IoU": {str(r): _number(value) for r, value in self.trimap.compute()["trimap_IoU"].items()},
        }

    def reset(self) -> None:
        """Forget all label maps."""
        for metric in (self.segmentation, self.boundary, self.trimap):
            metric.reset()


def _number(value: Tensor) -> float | None:
    """A float, or None for NaN, which JSON does not have."""
    number = value.item()
    return None if math.isnan(number) else number
