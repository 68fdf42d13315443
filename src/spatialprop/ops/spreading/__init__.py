"""Dilated affinity: the operator `spread`, its backends, and which pixels are neighbours."""

from spatialprop.ops.spreading.entry import spread
from spatialprop.ops.spreading.pairs import check_neighbourhood, neighbour_labels, neighbour_offsets, neighbours

__all__ = ["check_neighbourhood", "neighbour_labels", "neighbour_offsets", "neighbours", "spread"]
