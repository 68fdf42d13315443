"""Scores of segmentations, over whole sets and across processes."""

from spatialprop.metrics.affinity import AffinityScores
from spatialprop.metrics.boundary import BoundaryIoU, TrimapIoU, distance_to_border, mend_near_borders
from spatialprop.metrics.changes import RefinementChanges
from spatialprop.metrics.error_regions import ErrorRegion, ErrorRegions, error_regions
from spatialprop.metrics.helen import HelenFScores, has_faces
from spatialprop.metrics.image_effects import ImageEffects
from spatialprop.metrics.method import MethodScores
from spatialprop.metrics.scores import SegmentationScores

__all__ = [
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
    "distance_to_border",
    "error_regions",
    "has_faces",
    "mend_near_borders",
]
