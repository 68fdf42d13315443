"""The compiled CPU backend."""

from spatialprop.ops.spreading.cpu.launch import backward, forward

__all__ = ["backward", "forward"]
