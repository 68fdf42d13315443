"""Scores of segmentations, over whole sets and across processes."""

from spatialprop.metrics.boundary import BoundaryIoU, TrimapIoU, distance_to_border, mend_near_borders
from spatialprop.metrics.changes import RefinementChanges
from spatialprop.metrics.helen import HelenFScores
from spatialprop.metrics.method import MethodScores
from spatialprop.metrics.scores import SegmentationScores

__all__ = [
    "BoundaryIoU",
    "HelenFScores",
    "MethodScores",
    "RefinementChanges",
    "SegmentationScores",
    "TrimapIoU",
    "distance_to_border",
    "mend_near_borders",
]
