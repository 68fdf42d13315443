"""Layers and networks."""

from spatialprop.nn.propagation import SpatialPropagation

__all__ = ["SpatialPropagation"]
