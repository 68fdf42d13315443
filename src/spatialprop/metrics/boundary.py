"""Scores of the pixels near borders."""

import math
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from spatialprop.metrics.confusion import check_classes, check_label_maps, class_iou, count, not_void, valid_pixels


def distance_to_border(labels: Tensor, limit: int) -> Tensor:
    """Chessboard distance from each pixel of `labels` (N, H, W) to the nearest one with another label.

    It is 1 where one of the eight neighbours differs, and `limit` + 1 for all that is further than `limit`.

    Example:
        >>> import torch
        >>> from spatialprop.metrics import distance_to_border
        >>> distance_to_border(torch.tensor([[[0, 0, 1, 1, 1, 1]]]), limit=3)
        tensor([[[2, 1, 1, 2, 3, 4]]])
    """
    check_label_maps(labels=labels)
    if limit < 1:
        raise ValueError(f"limit must be at least 1, the distance of pixels that touch another label; got {limit}")
    down = labels[:, 1:] != labels[:, :-1]
    right = labels[..., 1:] != labels[..., :-1]
    changes_down = F.pad(down, (0, 0, 1, 0)) | F.pad(down, (0, 0, 0, 1))  # (N, H, W)
    changes_right = F.pad(right, (1, 0)) | F.pad(right, (0, 1))  # (N, H, W)
    # A 3x3 window holds one label where its three columns are constant and so is its middle row.
    near = _grow(changes_down, -1) | changes_right
    distance = torch.ones_like(labels, dtype=torch.int32)  # the loop takes as long as memory does: int64 is slower
    for _ in range(limit):
        distance += ~near
        near = _grow(_grow(near, -1), -2)
    return distance.long()


def _grow(mask: Tensor, dim: int) -> Tensor:
    """The mask and its two neighbours along `dim`."""
    grown = mask.clone()
    size = mask.shape[dim] - 1
    grown.narrow(dim, 1, size).logical_or_(mask.narrow(dim, 0, size))
    grown.narrow(dim, 0, size).logical_or_(mask.narrow(dim, 1, size))
    return grown


def correct_near_borders(pred: Tensor, target: Tensor, radius: int = 8, ignore_index: int | None = None) -> Tensor:
    """Replace the prediction by the truth within `radius` pixels of a border of the truth.

    The score of this oracle is the most that a refinement of borders could reach. Void pixels stay as predicted.

    Example:
        >>> import torch
        >>> from spatialprop.metrics import correct_near_borders
        >>> target = torch.tensor([[[0, 0, 0, 1, 1, 1]]])
        >>> correct_near_borders(torch.full_like(target, 2), target, radius=2)
        tensor([[[2, 0, 0, 1, 1, 2]]])
    """
    check_label_maps(pred=pred, target=target)
    near = distance_to_border(target, radius) <= radius
    return torch.where(near & not_void(target, ignore_index), target, pred)


class BoundaryIoU(Metric):
    """IoU of the bands along the inner side of the borders of prediction and truth, class by class.

    The band of a mask is the mask without its erosion by `distance` steps of 3x3; pixels outside of the image are not
    in the mask. Void pixels are in no mask, neither the prediction's nor the truth's. Intersections and unions are
    summed over the set, then averaged over the scored classes that occur.

    Args:
        num_classes: Number of classes K; labels are 0 to K - 1.
        ignore_index: Label of void pixels in the truth. Predictions hold no void.
        scored_classes: Indices that the mean averages over, by default all.
        ratio: Width of the band, as a share of the image's diagonal; at least one pixel.

    Example:
        >>> import torch
        >>> from spatialprop.metrics import BoundaryIoU
        >>> target = torch.zeros(1, 64, 64, dtype=torch.int64)
        >>> target[:, 16:48, 16:48] = 1
        >>> scores = BoundaryIoU(2)
        >>> scores.update(target.roll(1, dims=2), target)
        >>> scores.compute()["boundary_IoU"]
        tensor(0.7187)
    """

    full_state_update = False
    intersection: Tensor
    union: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        ignore_index: int | None = None,
        scored_classes: Sequence[int] | None = None,
        ratio: float = 0.02,
    ) -> None:
        super().__init__()
        if not ratio > 0:
            raise ValueError(f"ratio must be positive, a share of the image's diagonal such as 0.02; got {ratio}")
        self.scored_classes = check_classes(num_classes, ignore_index, scored_classes)
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.ratio = ratio
        self.add_state("intersection", torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("union", torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Add the bands of label maps (N, H, W)."""
        valid = valid_pixels(pred, target, self.num_classes, self.ignore_index)
        pred_band = self._bands(pred, valid)
        target_band = self._bands(target, valid)
        intersection = count(pred, pred_band & target_band & (pred == target), self.num_classes)
        self.intersection += intersection
        self.union += count(pred, pred_band, self.num_classes) + count(target, target_band, self.num_classes)
        self.union -= intersection

    def compute(self) -> dict[str, Tensor]:
        """The mean, and the value of each class: (K,), NaN where a class never occurs."""
        per_class = self.intersection / self.union
        return {"boundary_IoU": per_class[self.scored_classes].nanmean(), "per_class_boundary_IoU": per_class}

    def _bands(self, labels: Tensor, valid: Tensor) -> Tensor:
        """The bands of all classes at once: a pixel has one label, so it lies in no band but that of its own class."""
        distance = max(1, round(self.ratio * math.hypot(*labels.shape[1:])))
        nowhere = -1
        framed = F.pad(labels.where(valid, nowhere), (1, 1, 1, 1), value=nowhere)
        return (distance_to_border(framed, distance)[:, 1:-1, 1:-1] <= distance) & valid


class TrimapIoU(Metric):
    """Mean IoU over the pixels within r of a border of the truth, as a curve over r.

    r is the chessboard distance to the nearest pixel of another label in the truth. Void is a label for that, but
    void pixels are not counted. Each r has its own confusion matrix over the whole set.

    Args:
        num_classes: Number of classes K; labels are 0 to K - 1.
        ignore_index: Label of void pixels in the truth. Predictions hold no void.
        scored_classes: Indices that the mean averages over, by default all.
        radii: The distances r.

    Example:
        >>> import torch
        >>> from spatialprop.metrics import TrimapIoU
        >>> scores = TrimapIoU(2, radii=(1, 2))
        >>> scores.update(torch.tensor([[[0, 1, 1, 1]]]), torch.tensor([[[0, 0, 1, 1]]]))
        >>> scores.compute()
        {'trimap_IoU': {1: tensor(0.2500), 2: tensor(0.5833)}}
    """

    full_state_update = False
    confusion: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        ignore_index: int | None = None,
        scored_classes: Sequence[int] | None = None,
        radii: Iterable[int] = range(1, 21),
    ) -> None:
        super().__init__()
        self.scored_classes = check_classes(num_classes, ignore_index, scored_classes)
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.radii = list(radii)
        if not self.radii or min(self.radii) < 1:
            raise ValueError(f"radii must be one or more distances of at least 1 pixel; got {self.radii}")
        by_distance = torch.zeros(max(self.radii), num_classes, num_classes, dtype=torch.int64)
        self.add_state("confusion", by_distance, dist_reduce_fx="sum")

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Count the pixels of label maps (N, H, W) by their distance to a border."""
        valid = valid_pixels(pred, target, self.num_classes, self.ignore_index)
        limit = len(self.confusion)
        distance = distance_to_border(target, limit)
        cell = ((distance - 1) * self.num_classes + target) * self.num_classes + pred
        near = valid & (distance <= limit)
        self.confusion += count(cell, near, self.confusion.numel()).view_as(self.confusion)

    def compute(self) -> dict[str, dict[int, Tensor]]:
        """The mean IoU for each r; NaN where no pixel is that near to a border."""
        curve = class_iou(self.confusion.cumsum(0))[:, self.scored_classes].nanmean(1)
        return {"trimap_IoU": {radius: curve[radius - 1] for radius in self.radii}}
