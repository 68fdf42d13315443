"""The CUDA backend of `spread`: plans the launches of spread.cu, one per step.

Planning needs no GPU: `plan_forward` and `plan_backward` allocate memory and list the launches. The tests run the same
plans on a CPU.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from spatialprop.ops.contract import state_dtype
from spatialprop.ops.machine.cuda_launch import Launch, launch_all, type_options
from spatialprop.ops.spreading.pairs import neighbour_offsets

SOURCE = "spreading/spread.cu"
# As in spread.cu.
CHUNK = 8
TILE, _ROWS = 32, 8
_MAX_NEIGHBOURS = 256

_MAP = np.dtype([("data", np.uint64), ("strides", np.int64, 4), ("stored", np.int64)])
# `struct Call` of spread.cu, in its order.
_CALL = np.dtype(
    [(name, _MAP) for name in ("source", "before", "after")]
    + [(name, np.uint64) for name in ("affinity", "to", "out", "scales", "sums", "grad_affinity")]
    + [("affinity_strides", np.int64, 4)]
    + [(name, np.int64) for name in ("batch", "channels", "height", "width", "neighbours", "chunks", "fresh")]
    + [("offsets", np.int32, (_MAX_NEIGHBOURS, 2))]
)


class Plan(NamedTuple):
    launches: list[Launch]
    results: tuple[Tensor, ...]
    scratch: list[Tensor]  # alive until the launches are made; from then on the stream's order protects it


def forward(x: Tensor, affinity: Tensor, dilations: Sequence[int], kernel: int, steps: int) -> Tensor:
    (out,) = _run(plan_forward(x, affinity, dilations, kernel, steps), x)
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
    plan = plan_backward(grad, x, affinity, dilations, kernel, steps, need_x, need_affinity)
    grad_x, grad_affinity = _run(plan, x)
    return grad_x, grad_affinity


def _run(plan: Plan, x: Tensor) -> tuple[Tensor, ...]:
    launch_all(plan.launches, SOURCE, type_options(x.dtype), x.device.index)
    return plan.results


def plan_forward(x: Tensor, affinity: Tensor, dilations: Sequence[int], kernel: int, steps: int) -> Plan:
    call = _call(x, affinity, dilations, kernel)
    out = x.new_empty(x.shape)
    buffers = [_state(x, x.shape) for _ in range(min(2, steps - 1))]
    targets = [*(buffers[t % 2] for t in range(steps - 1)), out]
    return Plan(_steps(call, x, targets), (out,), buffers)


def plan_backward(
    grad: Tensor,
    x: Tensor,
    affinity: Tensor,
    dilations: Sequence[int],
    kernel: int,
    steps: int,
    need_x: bool,
    need_affinity: bool,
) -> Plan:
    call = _call(x, affinity, dilations, kernel)
    grad_x = x.new_empty(x.shape if need_x else (0,))
    grad_affinity = x.new_empty(affinity.shape if need_affinity else (0,))
    scales = _state(x, (x.shape[0], *x.shape[2:]))
    states = [_state(x, x.shape) for _ in range(steps if need_affinity else 0)]  # after each step
    buffers = [_state(x, x.shape) for _ in range(min(2, steps - 1))]
    sums = _state(x, affinity.shape) if need_affinity and steps > 1 else None
    call["scales"] = scales.data_ptr()
    launches = [_launch("find_scales", call, 1), *_steps(call, x, states)]

    upstream = grad
    for t in reversed(range(steps)):
        back = call.copy()
        _set_map(back, "source", upstream, stored=t == steps - 1)
        back["chunks"] = _chunks(x) if need_x or t > 0 else 0
        if need_affinity:
            _set_map(back, "before", states[t - 1] if t > 0 else x, stored=t == 0)
            _set_map(back, "after", states[t], stored=False)
            back["fresh"] = t == steps - 1
            back["sums"] = sums.data_ptr() if sums is not None else 0
            back["grad_affinity"] = grad_affinity.data_ptr() if t == 0 else 0
        if t > 0:
            upstream = buffers[t % len(buffers)]
            back["to"] = upstream.data_ptr()
        elif need_x:
            back["out"] = grad_x.data_ptr()
        neighbour_chunks = affinity.shape[1] // CHUNK if need_affinity else 0
        launches.append(_launch("spread_back", back, int(back["chunks"][0]) + neighbour_chunks))
    scratch = [scales, *states, *buffers, *([] if sums is None else [sums])]
    return Plan(launches, (grad_x, grad_affinity), scratch)


def _steps(call: npt.NDArray[Any], x: Tensor, targets: Sequence[Tensor]) -> list[Launch]:
    """From `x` to the first target, from there to the second, and so on."""
    launches = []
    for t, target in enumerate(targets):
        one = call.copy()
        _set_map(one, "source", targets[t - 1] if t > 0 else x, stored=t == 0)
        one["out" if target.dtype == x.dtype else "to"] = target.data_ptr()
        launches.append(_launch("spread_step", one, _chunks(x)))
    return launches


def _call(x: Tensor, affinity: Tensor, dilations: Sequence[int], kernel: int) -> npt.NDArray[Any]:
    offsets = neighbour_offsets(dilations, kernel)
    if len(offsets) > _MAX_NEIGHBOURS:
        raise ValueError(
            f"the cuda backend takes at most {_MAX_NEIGHBOURS} neighbours: len(dilations) * (kernel**2 - 1) is "
            f"{len(offsets)}. Use fewer dilations, a smaller kernel, or backend='naive'"
        )
    call = np.zeros(1, _CALL)
    call["affinity"], call["affinity_strides"] = affinity.data_ptr(), affinity.stride()
    call["batch"], call["channels"], call["height"], call["width"] = x.shape
    call["neighbours"] = len(offsets)
    # Any offset beyond the map means the same; this one cannot overflow.
    call["offsets"][0, : len(offsets)] = np.clip(offsets, -(2**30), 2**30)
    return call


def _set_map(call: npt.NDArray[Any], name: str, tensor: Tensor, stored: bool) -> None:
    call[name]["data"], call[name]["strides"], call[name]["stored"] = tensor.data_ptr(), tensor.stride(), stored


def _launch(kernel: str, call: npt.NDArray[Any], chunks: int) -> Launch:
    tiles = call["batch"] * -(-call["height"] // _ROWS) * -(-call["width"] // TILE)
    return Launch(kernel, (int(tiles[0]), chunks), TILE * _ROWS, 0, call)


def _chunks(x: Tensor) -> int:
    return -(-x.shape[1] // CHUNK)


def _state(x: Tensor, shape: Sequence[int]) -> Tensor:
    return x.new_empty(tuple(shape), dtype=state_dtype(x.dtype))
