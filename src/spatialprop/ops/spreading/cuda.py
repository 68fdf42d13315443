"""The CUDA backend of `spread`: plans the launches of spread.cu, one per step.

Planning needs no GPU: `plan_forward` and `plan_backward` list what is to be allocated and launched, from shapes,
strides and types alone, and keep it for the next call like it. The tests carry out the same plans on a CPU.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from spatialprop.ops.contract import state_dtype
from spatialprop.ops.machine.cuda_launch import Buffer, Launch, Layout, Plan, call_type, layout_of, type_options
from spatialprop.ops.spreading.pairs import neighbour_offsets

SOURCE = "spreading/spread.cu"
# As in spread.cu.
CHUNK = 8
TILE, _ROWS = 32, 8
_MAX_NEIGHBOURS = 256

# `struct Call` of spread.cu, in its order.
_POINTERS = ("source", "before", "after", "affinity", "to", "out", "scales", "sums", "grad_affinity")
_MAP = [("strides", np.int64, 4), ("stored", np.int64)]
_CALL = call_type(
    _POINTERS,
    *((f"{name}_map", _MAP) for name in ("source", "before", "after")),
    ("affinity_strides", np.int64, 4),
    *((name, np.int64) for name in ("batch", "channels", "height", "width", "neighbours", "chunks", "fresh")),
    ("offsets", np.int32, (_MAX_NEIGHBOURS, 2)),
)


def forward(x: Tensor, affinity: Tensor, dilations: Sequence[int], kernel: int, steps: int) -> Tensor:
    plan = plan_forward(layout_of(x), layout_of(affinity), tuple(dilations), kernel, steps)
    (out,) = plan.run(x.device.index, x, affinity)
    return out


def backward(
    grad: Tensor,
    x: Tensor,
    affinity: Tensor,
    dilations: Sequence[int],
    kernel: int,
    steps: int,
    need_x: bool,
    need_affinity: bool,
) -> tuple[Tensor, Tensor]:
    layouts = (layout_of(grad), layout_of(x), layout_of(affinity))
    plan = plan_backward(*layouts, tuple(dilations), kernel, steps, need_x, need_affinity)
    grad_x, grad_affinity = plan.run(x.device.index, grad, x, affinity)
    return grad_x, grad_affinity


@lru_cache(256)
def plan_forward(x: Layout, affinity: Layout, dilations: tuple[int, ...], kernel: int, steps: int) -> Plan:
    call = _call(x, affinity, dilations, kernel)
    buffers = [Buffer("out", x.shape, x.dtype), *_states(x, "turn", min(2, steps - 1))]
    targets = [*(f"turn {t % 2}" for t in range(steps - 1)), "out"]
    return _plan(("x", "affinity"), buffers, ("out",), _steps(call, x, targets), x)


@lru_cache(256)
def plan_backward(
    grad: Layout,
    x: Layout,
    affinity: Layout,
    dilations: tuple[int, ...],
    kernel: int,
    steps: int,
    need_x: bool,
    need_affinity: bool,
) -> Plan:
    call = _call(x, affinity, dilations, kernel)
    state = state_dtype(x.dtype)
    after = _states(x, "after step", steps if need_affinity else 0)
    turns = _states(x, "turn", min(2, steps - 1))
    buffers = [
        Buffer("grad_x", x.shape if need_x else (0,), x.dtype),
        Buffer("grad_affinity", affinity.shape if need_affinity else (0,), x.dtype),
        Buffer("scales", (x.shape[0], *x.shape[2:]), state),
        Buffer("sums", affinity.shape if need_affinity and steps > 1 else (0,), state),
        *after,
        *turns,
    ]
    always: dict[str, str] = {"affinity": "affinity", "scales": "scales"}
    launches = [_launch("find_scales", call, 1, always), *_steps(call, x, [buffer.name for buffer in after])]
    for t in reversed(range(steps)):
        back, pointers = call.copy(), dict(always)
        last = t == steps - 1
        pointers["source"] = "grad" if last else f"turn {(t + 1) % len(turns)}"
        _set_map(back, "source", grad.strides if last else _contiguous(x), stored=last)
        back["chunks"] = _chunks(x) if need_x or t > 0 else 0
        if need_affinity:
            pointers |= {"before": after[t - 1].name if t > 0 else "x", "after": after[t].name, "sums": "sums"}
            _set_map(back, "before", _contiguous(x) if t > 0 else x.strides, stored=t == 0)
            _set_map(back, "after", _contiguous(x), stored=False)
            back["fresh"] = last
            if t == 0:
                pointers["grad_affinity"] = "grad_affinity"
        if t > 0:
            pointers["to"] = f"turn {t % len(turns)}"
        elif need_x:
            pointers["out"] = "grad_x"
        neighbour_chunks = affinity.shape[1] // CHUNK if need_affinity else 0
        launches.append(_launch("spread_back", back, int(back["chunks"][0]) + neighbour_chunks, pointers))
    return _plan(("grad", "x", "affinity"), buffers, ("grad_x", "grad_affinity"), launches, x)


def _plan(
    inputs: Sequence[str], buffers: Sequence[Buffer], results: Sequence[str], launches: Sequence[Launch], x: Layout
) -> Plan:
    return Plan(inputs, buffers, results, launches, SOURCE, type_options(x.dtype))


def _steps(call: npt.NDArray[Any], x: Layout, targets: Sequence[str]) -> list[Launch]:
    """From `x` to the first target, from there to the second, and so on."""
    launches = []
    for t, target in enumerate(targets):
        one = call.copy()
        _set_map(one, "source", _contiguous(x) if t > 0 else x.strides, stored=t == 0)
        pointers = {"affinity": "affinity", "source": targets[t - 1] if t > 0 else "x"}
        pointers["out" if target == "out" else "to"] = target
        launches.append(_launch("spread_step", one, _chunks(x), pointers))
    return launches


def _call(x: Layout, affinity: Layout, dilations: Sequence[int], kernel: int) -> npt.NDArray[Any]:
    offsets = neighbour_offsets(dilations, kernel)
    if len(offsets) > _MAX_NEIGHBOURS:
        raise ValueError(
            f"the cuda backend takes at most {_MAX_NEIGHBOURS} neighbours: len(dilations) * (kernel**2 - 1) is "
            f"{len(offsets)}. Use fewer dilations, a smaller kernel, or backend='naive'"
        )
    call = np.zeros(1, _CALL)
    call["affinity_strides"] = affinity.strides
    call["batch"], call["channels"], call["height"], call["width"] = x.shape
    call["neighbours"] = len(offsets)
    # Any offset beyond the map means the same; this one cannot overflow.
    call["offsets"][0, : len(offsets)] = np.clip(offsets, -(2**30), 2**30)
    return call


def _set_map(call: npt.NDArray[Any], name: str, strides: Sequence[int], stored: bool) -> None:
    call[f"{name}_map"]["strides"], call[f"{name}_map"]["stored"] = strides, stored


def _launch(kernel: str, call: npt.NDArray[Any], chunks: int, pointers: dict[str, str]) -> Launch:
    tiles = call["batch"] * -(-call["height"] // _ROWS) * -(-call["width"] // TILE)
    launch = Launch(kernel, (int(tiles[0]), chunks), TILE * _ROWS, 0, call)
    return launch.point_to([pointers.get(name) for name in _POINTERS])


def _chunks(x: Layout) -> int:
    return -(-x.shape[1] // CHUNK)


def _contiguous(x: Layout) -> tuple[int, ...]:
    _, channels, height, width = x.shape
    return channels * height * width, height * width, width, 1


def _states(x: Layout, name: str, count: int) -> list[Buffer]:
    return [Buffer(f"{name} {i}", x.shape, state_dtype(x.dtype)) for i in range(count)]
