"""Learned spatial propagation: mend the borders of a segmentation along affinities learned from data."""

from spatialprop.nn import SpatialPropagation
from spatialprop.ops import normalize_gates, propagate

__all__ = ["SpatialPropagation", "normalize_gates", "propagate"]
__version__ = "0.1.0"
