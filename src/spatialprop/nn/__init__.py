"""Layers and networks."""

from spatialprop.nn.joint import JointNetwork
from spatialprop.nn.propagation import SpatialPropagation
from spatialprop.nn.refinement import RefinementNetwork

__all__ = ["JointNetwork", "RefinementNetwork", "SpatialPropagation"]
