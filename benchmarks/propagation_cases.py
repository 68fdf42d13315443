"""The cases that propagation.py measures, and how many bytes each must move and does move."""

from dataclasses import dataclass

import torch
from torch import Tensor

from spatialprop.ops import DIRECTIONS
from spatialprop.ops.machine.cuda_launch import gpu_of, layout_of
from spatialprop.ops.propagation import cuda

CONNECTIONS = {"three-way": 3, "one-way": 1}


@dataclass(frozen=True)
class Case:
    shape: tuple[int, int, int, int]  # (N, C, H, W)
    groups: int
    connection: str
    dtype: str = "float32"

    @property
    def gates_shape(self) -> tuple[int, ...]:
        batch, _, height, width = self.shape
        return (batch, len(DIRECTIONS), CONNECTIONS[self.connection], self.groups, height, width)

    @property
    def torch_dtype(self) -> torch.dtype:
        return getattr(torch, self.dtype)

    @property
    def map_bytes(self) -> int:
        return torch.Size(self.shape).numel() * self.torch_dtype.itemsize

    @property
    def gates_bytes(self) -> int:
        return torch.Size(self.gates_shape).numel() * self.torch_dtype.itemsize

    def floor_bytes(self, backward: bool) -> int:
        forward = 2 * self.map_bytes + self.gates_bytes
        return forward + (3 * self.map_bytes + 2 * self.gates_bytes if backward else 0)

    def result_bytes(self, backward: bool) -> int:
        return self.map_bytes + (self.map_bytes + self.gates_bytes if backward else 0)

    @property
    def memory_floor_bytes(self) -> int:
        """x, out, grad_out, grad_x, gates and grad_gates, all alive at the end of backward."""
        return 4 * self.map_bytes + 2 * self.gates_bytes


def cases(device: torch.device, quick: bool) -> list[Case]:
    if quick:
        tiny = (1, 4, 24, 20)
        return [Case(tiny, 4, "three-way"), Case(tiny, 1, "one-way", "bfloat16")]
    maps = [((1, 32, 64, 64), 32), ((8, 32, 64, 64), 32), ((1, 32, 512, 512), 32), ((1, 21, 188, 250), 1)]
    large = ((1, 32, 512, 512), 32)
    if device.type == "cuda":
        large = ((16, 8, 1024, 1024), 8)
        maps.append(large)
    single = [Case(*shaped, connection) for shaped in maps for connection in CONNECTIONS]
    return single + [Case(*large, connection, "bfloat16") for connection in CONNECTIONS]


def describe(case: Case) -> dict[str, object]:
    gates = "shared" if case.groups == 1 else "per channel" if case.groups == case.shape[1] else f"{case.groups} groups"
    return {"shape": list(case.shape), "gates": gates, "connection": case.connection, "dtype": case.dtype}


@dataclass(frozen=True)
class Inputs:
    x: Tensor
    gates: Tensor
    grad: Tensor


def make_inputs(case: Case, device: torch.device) -> Inputs:
    def uniform(shape: tuple[int, ...], most: float) -> Tensor:
        return torch.empty(shape, dtype=case.torch_dtype, device=device).uniform_(-most, most)

    # Absolute gates sum to at most one: stable, and nothing decays into subnormal numbers.
    gates = uniform(case.gates_shape, 1 / CONNECTIONS[case.connection])
    x, grad = uniform(case.shape, 1), uniform(case.shape, 1)
    return Inputs(x.requires_grad_(), gates.requires_grad_(), grad)


def bytes_moved(case: Case, backward: bool, fused: bool) -> int | None:
    """Count the bytes that the CUDA kernels move, as the header of propagate.cu does.

    For float32 and per-channel three-way gates that is 23 tensors of x's size forward and 64 backward if one block
    takes all directions (`fused`), and 25 and 66 if each direction has a block of its own. None for shared gates, since
    it is not known how often they come from the cache.
    """
    if case.groups != case.shape[1]:
        return None
    directions = len(DIRECTIONS)
    stored, pixels = case.map_bytes, torch.Size(case.shape).numel()
    state = pixels * 4  # merged maps and h are kept in float32
    merging = (2 * directions - 2 if fused else 2 * directions) * state + stored
    forward = case.gates_bytes + directions * stored + merging
    if not backward:
        return forward
    again = case.gates_bytes + directions * (stored + state)  # h, computed once more
    back = 2 * case.gates_bytes + directions * (2 * stored + state) + merging  # from gates, grad, x and h
    winners = (1 + directions) * pixels
    return forward + again + back + winners


def fuses_directions(case: Case, device: torch.device) -> bool:
    """Whether one block takes all directions of a plane on this GPU."""
    gpu = gpu_of(torch.cuda.current_device() if device.index is None else device.index)
    x, gates = (torch.empty(shape, dtype=case.torch_dtype, device="meta") for shape in (case.shape, case.gates_shape))
    plan = cuda.plan_forward(*map(layout_of, (x, gates)), tuple(range(len(DIRECTIONS))), "max", False, None, gpu)
    return all(launch.kernel != "merge_maps" for launch in plan.launches)
