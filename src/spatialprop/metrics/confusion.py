"""Common parts of the scores: checks of label maps, the confusion matrix, and the IoU of each class."""

from collections.abc import Sequence

import torch
from torch import Tensor


def check_classes(num_classes: int, ignore_index: int | None, scored_classes: Sequence[int] | None) -> list[int]:
    """The indices that means average over: `scored_classes`, or all classes but the ignored one."""
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, the background counts as one; got {num_classes}")
    if scored_classes is None:
        return [index for index in range(num_classes) if index != ignore_index]
    scored = list(scored_classes)
    outside = [index for index in scored if not 0 <= index < num_classes]
    if outside or not scored or len(set(scored)) != len(scored):
        raise ValueError(f"scored_classes must be distinct indices from 0 to {num_classes - 1}; got {scored}")
    return scored


def check_label_maps(**maps: Tensor) -> None:
    """All maps are int64 (N, H, W) and of one shape."""
    for name, labels in maps.items():
        if labels.dtype != torch.int64:
            raise TypeError(
                f"{name} must hold int64 labels; got {labels.dtype}. Use .argmax(1) on scores, else .long()"
            )
        if labels.dim() != 3:
            raise ValueError(f"{name} must be (N, H, W); got {tuple(labels.shape)}. One map needs .unsqueeze(0)")
    if len({labels.shape for labels in maps.values()}) != 1:
        shapes = ", ".join(f"{name} {tuple(labels.shape)}" for name, labels in maps.items())
        raise ValueError(f"label maps must have one shape (N, H, W); got {shapes}. Score at the size of the truth")


def not_void(target: Tensor, ignore_index: int | None) -> Tensor:
    return torch.ones_like(target, dtype=torch.bool) if ignore_index is None else target != ignore_index


def valid_pixels(pred: Tensor, target: Tensor, num_classes: int, ignore_index: int | None) -> Tensor:
    """Where the truth is not void, once every label of both maps is known to be a class."""
    check_label_maps(pred=pred, target=target)
    valid = not_void(target, ignore_index)
    classes = f"the {num_classes} classes are 0 to {num_classes - 1}"
    if (label := _outside(pred, num_classes)) is not None:
        raise ValueError(f"pred holds the label {label}, but {classes}, and predictions hold no void")
    if (label := _outside(target.masked_fill(~valid, 0), num_classes)) is not None:
        raise ValueError(f"target holds the label {label}, but {classes}, and ignore_index is {ignore_index}")
    return valid


def _outside(labels: Tensor, num_classes: int) -> int | None:
    """The first label that is no class."""
    outside = (labels < 0) | (labels >= num_classes)
    return int(labels[outside][0]) if outside.any() else None


def count(labels: Tensor, mask: Tensor, num_labels: int) -> Tensor:
    """How often each label occurs under the mask, (num_labels,)."""
    # Counting the rest as one label more is several times faster than picking out the pixels under the mask.
    return torch.bincount(labels.masked_fill(~mask, num_labels).flatten(), minlength=num_labels + 1)[:num_labels]


def confusion_matrix(pred: Tensor, target: Tensor, valid: Tensor, num_classes: int) -> Tensor:
    """Valid pixels by class in the truth (row) and in the prediction (column), (K, K)."""
    return count(target * num_classes + pred, valid, num_classes**2).view(num_classes, num_classes)


def class_iou(confusion: Tensor) -> Tensor:
    """Intersection over union of each class, (..., K); NaN where a class occurs in neither map."""
    intersection = confusion.diagonal(dim1=-2, dim2=-1)
    return intersection / (confusion.sum(-1) + confusion.sum(-2) - intersection)
