"""The compiled CPU backend."""

from spatialprop.ops.propagation.cpu.launch import backward, forward

__all__ = ["backward", "forward"]
