"""Spatial propagation: the operator `propagate` and its backends."""

from spatialprop.ops.propagation.face import propagate

__all__ = ["propagate"]
