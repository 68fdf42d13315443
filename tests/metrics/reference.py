"""The definitions of the scores, read one pixel and one class at a time, in numpy."""

import math

import numpy as np


def mean(values):
    """The mean of what is defined."""
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def share(part, whole):
    return part / whole if whole else math.nan


def per_class_iou(pred, target, num_classes, counted):
    """IoU of each class over the pixels `counted`."""
    values = []
    for label in range(num_classes):
        predicted, true = (pred == label) & counted, (target == label) & counted
        values.append(share((predicted & true).sum(), (predicted | true).sum()))
    return values


def per_class_accuracy(pred, target, num_classes, counted):
    values = []
    for label in range(num_classes):
        true = (target == label) & counted
        values.append(share((true & (pred == label)).sum(), true.sum()))
    return values


def erode(mask):
    """Erosion of (H, W) by 3x3; outside the image there is nothing."""
    eroded = np.zeros_like(mask)
    for i in range(1, mask.shape[0] - 1):
        for j in range(1, mask.shape[1] - 1):
            eroded[i, j] = mask[i - 1 : i + 2, j - 1 : j + 2].all()
    return eroded


def band(mask, steps):
    eroded = mask
    for _ in range(steps):
        eroded = erode(eroded)
    return mask & ~eroded


def per_class_boundary_iou(pred, target, num_classes, void, ratio=0.02):
    """Bands of maps (N, H, W), class by class; `void` is (N, H, W) too."""
    steps = max(1, round(ratio * math.sqrt(pred.shape[1] ** 2 + pred.shape[2] ** 2)))
    values = []
    for label in range(num_classes):
        intersection = union = 0
        for one_pred, one_target, one_void in zip(pred, target, void, strict=True):
            predicted = band((one_pred == label) & ~one_void, steps)
            true = band((one_target == label) & ~one_void, steps)
            intersection += (predicted & true).sum()
            union += (predicted | true).sum()
        values.append(share(intersection, union))
    return values


def distance_to_border(labels, limit):
    """Every pair of pixels of (N, H, W) is looked at."""
    distance = np.full(labels.shape, limit + 1)
    _, height, width = labels.shape
    for n, i, j in np.ndindex(labels.shape):
        for row, column in np.ndindex(height, width):
            if labels[n, row, column] != labels[n, i, j]:
                distance[n, i, j] = min(distance[n, i, j], max(abs(i - row), abs(j - column)))
    return distance
