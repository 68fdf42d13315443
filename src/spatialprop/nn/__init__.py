"""Layers and networks."""

from spatialprop.nn.dilated import AffinityHead, AffinityPropagation, DilatedAffinityNetwork
from spatialprop.nn.joint import JointNetwork
from spatialprop.nn.propagation import SpatialPropagation
from spatialprop.nn.refinement import RefinementNetwork
from spatialprop.nn.trusting import TrustingNetwork
from spatialprop.nn.values import ValueNetwork

__all__ = [
    "AffinityHead",
    "AffinityPropagation",
    "DilatedAffinityNetwork",
    "JointNetwork",
    "RefinementNetwork",
    "SpatialPropagation",
    "TrustingNetwork",
    "ValueNetwork",
]
