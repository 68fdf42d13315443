"""Layers and networks."""

from spatialprop.nn.dilated.affinity import AffinityHead, AffinityPropagation
from spatialprop.nn.dilated.network import DilatedAffinityNetwork
from spatialprop.nn.joint import JointNetwork
from spatialprop.nn.propagation import SpatialPropagation
from spatialprop.nn.refinement import RefinementNetwork

__all__ = [
    "AffinityHead",
    "AffinityPropagation",
    "DilatedAffinityNetwork",
    "JointNetwork",
    "RefinementNetwork",
    "SpatialPropagation",
]
