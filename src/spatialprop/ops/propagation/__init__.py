"""Spatial propagation: the operator `propagate` and its backends."""

from spatialprop.ops.propagation.entry import propagate

__all__ = ["propagate"]
