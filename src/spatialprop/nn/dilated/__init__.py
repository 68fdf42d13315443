"""Dilated affinity: predict which neighbours share a pixel's class, and propagate a segmentation along that."""

from spatialprop.nn.dilated.cost import flops, parameters
from spatialprop.nn.dilated.head import AffinityHead, both_ends, later_half
from spatialprop.nn.dilated.network import (
    DilatedAffinityNetwork,
    Prediction,
    as_log_probabilities,
    log_probabilities,
    on_grid,
)
from spatialprop.nn.dilated.propagation import AffinityPropagation

__all__ = [
    "AffinityHead",
    "AffinityPropagation",
    "DilatedAffinityNetwork",
    "Prediction",
    "as_log_probabilities",
    "both_ends",
    "flops",
    "later_half",
    "log_probabilities",
    "on_grid",
    "parameters",
]
