"""Builds propagate.cu for the host and carries out plans of cuda.py on it."""

import ctypes
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

from spatialprop.ops import cuda
from spatialprop.ops.contract import DIRECTIONS

FOLDER = Path(__file__).parent
# Many planes for few processors, or few for many; tiles as on a large GPU, or so small that every map has many.
FOLDING = cuda.Gpu(1, 227 << 10, 228 << 10)
SPREADING = cuda.Gpu(10_000, 227 << 10, 228 << 10)
SMALL_FOLDING = cuda.Gpu(1, 6_000, 18_000)
SMALL_SPREADING = cuda.Gpu(10_000, 6_000, 18_000)
GPUS = {"fold": FOLDING, "spread": SPREADING, "fold_small": SMALL_FOLDING, "spread_small": SMALL_SPREADING}

ASCENDING, DESCENDING, SHUFFLED = 0, 1, 12345
_GUARD = 64  # elements around every allocation
_PROBLEMS = {
    1: "no such kernel",
    2: "threads returned while others wait at a barrier",
    3: "shared memory was written beyond what the plan asked for",
    4: "the plan asks for more shared memory than the host has",
}


def build(folder: Path, source: str, dtype: torch.dtype, connection: int, wide: bool, optimise: str = "-O1") -> Path:
    text = folder / "propagate.cu"
    text.write_text(source)
    library = folder / "propagate.so"
    options = cuda.compile_options(dtype, connection, wide)
    command = ["g++", *options, optimise, "-fPIC", "-shared", "-w", f'-DSOURCE="{text}"', str(FOLDER / "driver.cpp")]
    subprocess.run([*command, "-o", str(library)], check=True, capture_output=True, text=True)
    return library


class Host:
    """A library built from propagate.cu, in the place of a GPU."""

    def __init__(self, library: Path) -> None:
        self.library = ctypes.CDLL(str(library))
        assert self.library.call_bytes() == cuda._CALL.itemsize

    def forward(self, x, gates, directions, merge, keep_winner, gpu, order=ASCENDING) -> tuple[Tensor, Tensor]:
        codes = [DIRECTIONS.index(name) for name in directions]
        with guarded_memory():
            return self._run(cuda.plan_forward(x, gates, codes, merge, keep_winner, gpu), order)

    def backward(
        self, grad, x, gates, winner, directions, merge, gpu, order=ASCENDING, need_x=True, need_gates=True
    ) -> tuple[Tensor, Tensor]:
        codes = [DIRECTIONS.index(name) for name in directions]
        with guarded_memory():
            plan = cuda.plan_backward(grad, x, gates, winner, codes, merge, need_x, need_gates, gpu)
            return self._run(plan, order)

    def _run(self, plan: cuda.Plan, order: int) -> tuple[Tensor, Tensor]:
        for launch in plan.launches:
            problem = self.library.launch(
                launch.kernel.encode(),
                ctypes.c_void_p(launch.call.ctypes.data),
                *launch.grid,
                launch.threads,
                launch.shared,
                ctypes.c_uint64(order),
            )
            assert problem == 0, f"{launch.kernel}: {_PROBLEMS[problem]}"
        return plan.results


@contextmanager
def guarded_memory() -> Iterator[None]:
    """Allocations come full of NaN with a guard zone on both sides, which must be untouched in the end."""
    surroundings = []

    def new_empty(like, size, dtype=None):
        count = torch.Size(size if not isinstance(size, int) else (size,)).numel()
        dtype = dtype or like.dtype
        whole = torch.full(((count + 2 * _GUARD) * dtype.itemsize,), 0xFF, dtype=torch.uint8).view(dtype)
        surroundings.append(whole)
        return whole[_GUARD : _GUARD + count].view(size)

    with patch.object(Tensor, "new_empty", new_empty):
        yield
    for whole in surroundings:
        bits = whole.view(torch.uint8)
        edge = _GUARD * whole.itemsize
        assert (bits[:edge] == 0xFF).all(), "memory before an allocation was written"
        assert (bits[-edge:] == 0xFF).all(), "memory behind an allocation was written"
