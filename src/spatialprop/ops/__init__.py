"""The operators: the maths once in plain PyTorch, once for each kind of machine."""

from spatialprop.ops.affinity import affinity_matrix, affinity_row
from spatialprop.ops.contract import DIRECTIONS
from spatialprop.ops.normalization import normalize_gates
from spatialprop.ops.propagation import propagate
from spatialprop.ops.spreading import spread
from spatialprop.ops.spreading.pairs import neighbour_labels

__all__ = [
    "DIRECTIONS",
    "affinity_matrix",
    "affinity_row",
    "neighbour_labels",
    "normalize_gates",
    "propagate",
    "spread",
]
