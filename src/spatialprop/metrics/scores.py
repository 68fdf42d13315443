"""The usual scores of a segmentation: mean IoU, pixel accuracy and mean accuracy."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from spatialprop.metrics.confusion import check_classes, class_iou, confusion_matrix, valid_pixels


class SegmentationScores(Metric):
    """Mean IoU, pixel accuracy and mean accuracy from one confusion matrix over the whole set.

    Classes that never occur are left out of the means: of the mean IoU where neither prediction nor truth has them, of
    the mean accuracy where the truth has not. Void pixels do not count at all.

    Args:
        num_classes: Number of classes K; labels are 0 to K - 1.
        ignore_index: Label of void pixels in the truth. Predictions hold no void.
        scored_classes: Indices that the means average over, by default all.

    Example:
        >>> import torch
        >>> from spatialprop.metrics import SegmentationScores
        >>> scores = SegmentationScores(3, ignore_index=255)
        >>> scores.update(torch.tensor([[[0, 1, 1, 0]]]), torch.tensor([[[0, 0, 1, 255]]]))
        >>> scores.compute()["per_class_IoU"]
        tensor([0.5000, 0.5000,    nan])
        >>> scores.compute()["pixel_accuracy"]
        tensor(0.6667)
    """

    full_state_update = False
    confusion: Tensor

    def __init__(
        self, num_classes: int, *, ignore_index: int | None = None, scored_classes: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self.scored_classes = check_classes(num_classes, ignore_index, scored_classes)
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.add_state("confusion", torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Count the pixels of label maps (N, H, W)."""
        valid = valid_pixels(pred, target, self.num_classes, self.ignore_index)
        self.confusion += confusion_matrix(pred, target, valid, self.num_classes)

    def compute(self) -> dict[str, Tensor]:
        """The three scores, and the IoU of each class: (K,), NaN where a class never occurs."""
        right = self.confusion.diagonal()
        per_class_iou = class_iou(self.confusion)
        per_class_accuracy = right / self.confusion.sum(1)
        return {
            "mIoU": per_class_iou[self.scored_classes].nanmean(),
            "pixel_accuracy": right.sum() / self.confusion.sum(),
            "mean_accuracy": per_class_accuracy[self.scored_classes].nanmean(),
            "per_class_IoU": per_class_iou,
        }
