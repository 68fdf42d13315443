"""Scores of segmentations, mattes and colours, over whole sets and across processes."""

from spatialprop.metrics.affinity import NEAR_BORDER, AffinityScores
from spatialprop.metrics.boundary import BoundaryIoU, TrimapIoU, correct_near_borders, distance_to_border
from spatialprop.metrics.changes import RefinementChanges
from spatialprop.metrics.confusion import class_iou, confusion_matrix
from spatialprop.metrics.error_regions import ErrorRegion, ErrorRegions, error_regions
from spatialprop.metrics.helen import HelenFScores, has_faces
from spatialprop.metrics.image_effects import ImageEffects
from spatialprop.metrics.mattes import MatteErrors, matte_errors
from spatialprop.metrics.method import MethodScores
from spatialprop.metrics.scores import SegmentationScores
from spatialprop.metrics.values import ColourScores, ValueErrors

__all__ = [
    "NEAR_BORDER",
    "AffinityScores",
    "BoundaryIoU",
    "ColourScores",
    "ErrorRegion",
    "ErrorRegions",
    "HelenFScores",
    "ImageEffects",
    "MatteErrors",
    "MethodScores",
    "RefinementChanges",
    "SegmentationScores",
    "TrimapIoU",
    "ValueErrors",
    "class_iou",
    "confusion_matrix",
    "correct_near_borders",
    "distance_to_border",
    "error_regions",
    "has_faces",
    "matte_errors",
]
