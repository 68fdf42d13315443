"""Scores of segmentations, over whole sets and across processes."""

from spatialprop.metrics.affinity import NEAR_BORDER, AffinityScores
from spatialprop.metrics.boundary import BoundaryIoU, TrimapIoU, correct_near_borders, distance_to_border
from spatialprop.metrics.changes import RefinementChanges
from spatialprop.metrics.confusion import class_iou, confusion_matrix
from spatialprop.metrics.error_regions import ErrorRegion, ErrorRegions, error_regions
from spatialprop.metrics.helen import HelenFScores, has_faces
from spatialprop.metrics.image_effects import ImageEffects
from spatialprop.metrics.method import MethodScores
from spatialprop.metrics.scores import SegmentationScores

__all__ = [
    "NEAR_BORDER",
    "AffinityScores",
    "BoundaryIoU",
    "ErrorRegion",
    "ErrorRegions",
    "HelenFScores",
    "ImageEffects",
    "MethodScores",
    "RefinementChanges",
    "SegmentationScores",
    "TrimapIoU",
    "class_iou",
    "confusion_matrix",
    "correct_near_borders",
    "distance_to_border",
    "error_regions",
    "has_faces",
]
