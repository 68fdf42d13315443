"""What `propagate` and `spread` accept, checked once for all backends; errors say what is needed and how to get it."""

from collections.abc import Sequence
from math import isfinite
from numbers import Integral
from typing import cast

import torch
from torch import Tensor

# A direction is named after where information travels: "right" scans from the left column to the right one.
DIRECTIONS = ("right", "down", "left", "up")
MERGES = ("max", "mean", "none")
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def state_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type of the running state: nothing is accumulated in half precision."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def autocast(tensor: Tensor) -> Tensor:
    """Cast a tensor to the autocast dtype where autocast is on; float64 stays, as everywhere in PyTorch."""
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or tensor.dtype == torch.float64:
        return tensor
    device = tensor.device.type
    # torch.compile of PyTorch 2.10 cannot trace the question whether a device has autocast, which these have.
    if device not in ("cpu", "cuda") and not torch.amp.is_autocast_available(device):
        return tensor
    if not torch.is_autocast_enabled(device):
        return tensor
    return tensor.to(torch.get_autocast_dtype(device))


def check_directions(directions: Sequence[str] | None) -> tuple[str, ...]:
    if directions is None:
        return DIRECTIONS
    if isinstance(directions, str):
        raise TypeError(
            f"directions must be a sequence of names, got the string {directions!r}; write ({directions!r},)"
        )
    if not isinstance(directions, Sequence):
        raise TypeError(f"directions must be a sequence of names; got {directions!r}")
    directions = tuple(directions)
    unknown = [name for name in directions if name not in DIRECTIONS]
    if unknown or not directions or len(set(directions)) != len(directions):
        raise ValueError(
            f"directions must be one or more distinct names out of {', '.join(DIRECTIONS)}; got {directions}"
        )
    return directions


def check_merge(merge: str) -> None:
    if merge not in MERGES:
        raise ValueError(f"merge must be one of {', '.join(MERGES)}; got {merge!r}")


def check_connection(gates: Tensor) -> None:
    if gates.shape[2] not in (1, 3):
        raise ValueError(
            f"gates must have K = 1 (one-way) or K = 3 (three-way) in dimension 2; got {gates.shape[2]} "
            f"in {tuple(gates.shape)}"
        )


def is_integer(value: object) -> bool:
    """Whether a value is an integer, of Python's or NumPy's types; True and 2.0 are not."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_integer(name: str, value: object, least: int) -> None:
    if not is_integer(value):
        raise TypeError(f"{name} must be an integer; got {value!r}")
    if cast(int, value) < least:
        raise ValueError(f"{name} must be at least {least}; got {value}")


def check_number(name: str, value: object, *, positive: bool) -> None:
    """Check that a value is a finite number, above zero if `positive`, else at least zero."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number; got {value!r}")
    if not isfinite(value) or value < 0 or (positive and value == 0):
        raise ValueError(f"{name} must be {'positive' if positive else 'at least 0'} and finite; got {value}")


def check_floating(name: str, tensor: Tensor) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor; got {type(tensor).__name__}")
    if tensor.dtype not in DTYPES:
        raise TypeError(f"{name} must be float64, float32, bfloat16 or float16; got {tensor.dtype}. Convert with .to()")
    if tensor.layout != torch.strided:
        raise TypeError(f"{name} must be dense; got the layout {tensor.layout}. Use .to_dense()")


def check_together(x: Tensor, name: str, other: Tensor) -> None:
    """Check the shape of a map, and that the tensor that goes with it has the same dtype and device."""
    if x.dtype != other.dtype:
        raise TypeError(
            f"x and {name} must have one dtype; got {x.dtype} and {other.dtype}. Convert one: {name}.to(x.dtype)"
        )
    if x.device != other.device:
        raise ValueError(f"x and {name} must be on one device; got {x.device} and {other.device}. Move one with .to()")
    if x.dim() != 4:
        raise ValueError(f"x must be (N, C, H, W); got {x.dim()} dimensions, {tuple(x.shape)}")
    if 0 in x.shape:
        raise ValueError(f"x must not be empty: every size must be at least 1; got {tuple(x.shape)}")


def check_gates(gates: Tensor, directions: Sequence[str]) -> None:
    """Check the shape and type of gates."""
    check_floating("gates", gates)
    if gates.dim() != 6:
        raise ValueError(
            f"gates must be (N, D, K, G, H, W): batch, direction, connection, group, height, width; "
            f"got {gates.dim()} dimensions, {tuple(gates.shape)}. Network output of shape (N, D*K*G, H, W) "
            f"becomes that with .unflatten(1, (D, K, G))"
        )
    if 0 in gates.shape:
        raise ValueError(f"gates must not be empty: every size must be at least 1; got {tuple(gates.shape)}")
    if gates.shape[1] != len(directions):
        raise ValueError(
            f"gates must hold one block per direction: dimension 1 is {gates.shape[1]}, but there are "
            f"{len(directions)} directions {tuple(directions)}. Pass directions=... or {len(directions)} blocks"
        )
    check_connection(gates)


def check_inputs(x: Tensor, gates: Tensor, directions: Sequence[str]) -> None:
    """Check a map and its gates."""
    check_floating("x", x)
    check_gates(gates, directions)
    check_together(x, "gates", gates)
    batch, channels, height, width = x.shape
    groups = gates.shape[3]
    if gates.shape[0] != batch or gates.shape[4] != height or gates.shape[5] != width:
        raise ValueError(
            f"x and gates must agree in N, H and W: x is (N, C, H, W) = {tuple(x.shape)}, "
            f"gates are (N, D, K, G, H, W) = {tuple(gates.shape)}. Resize the guidance to the map, "
            f"or repeat the gates over the batch with .expand()"
        )
    if channels % groups != 0:
        raise ValueError(
            f"the number of gate groups must divide the channels: G = {groups}, C = {channels}. Use G = 1 "
            f"(all channels share), G = C (each channel its own) or another divisor of {channels}"
        )


def check_affinity(x: Tensor, affinity: Tensor, neighbours: int) -> None:
    """Check a map and the affinities of its pixels to their neighbours."""
    check_floating("x", x)
    check_floating("affinity", affinity)
    check_together(x, "affinity", affinity)
    if affinity.dim() != 4:
        raise ValueError(
            f"affinity must be (N, P, H, W): batch, neighbour, height, width; got {affinity.dim()} dimensions, "
            f"{tuple(affinity.shape)}"
        )
    if affinity.shape[1] != neighbours:
        raise ValueError(
            f"affinity must hold one map per neighbour: P = len(dilations) * (kernel**2 - 1) = {neighbours}, but "
            f"dimension 1 is {affinity.shape[1]} in {tuple(affinity.shape)}"
        )
    if affinity.shape[0] != x.shape[0] or affinity.shape[2:] != x.shape[2:]:
        raise ValueError(
            f"x and affinity must agree in N, H and W: x is (N, C, H, W) = {tuple(x.shape)}, affinity is "
            f"(N, P, H, W) = {tuple(affinity.shape)}. Resize one to the other, or repeat the affinity over the batch "
            f"with .expand()"
        )
