"""The operators, each in plain PyTorch and compiled for CPU and GPU."""

from spatialprop.ops.affinity import affinity_matrix, affinity_row
from spatialprop.ops.contract import DIRECTIONS
from spatialprop.ops.normalization import normalize_gates
from spatialprop.ops.propagation import propagate
from spatialprop.ops.spreading import neighbour_labels, spread
from spatialprop.ops.warmup import warmup

__all__ = [
    "DIRECTIONS",
    "affinity_matrix",
    "affinity_row",
    "neighbour_labels",
    "normalize_gates",
    "propagate",
    "spread",
    "warmup",
]
