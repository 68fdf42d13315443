"""Builds propagate.cu for the host and carries out plans of cuda.py on it."""

import ctypes
import subprocess
import sys
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
SURVIVES, CAUGHT = 10, 11  # exit statuses
_GUARD = 64  # elements around every allocation
_INPUT, _UNWRITTEN, _WRITTEN = 1, 2, 3  # of an element, as in watch.cpp; 0: it belongs to no tensor
_PROBLEMS = {
    1: "no such kernel",
    2: "not all threads of a block meet at the same barrier",
    3: "shared memory was written beyond what the plan asked for",
    4: "the plan asks for more shared memory than the host has",
}


def build(
    folder: Path,
    source: str,
    dtype: torch.dtype,
    connection: int,
    wide: bool = False,
    optimise: str = "-O1",
    watch: bool = False,
) -> Path:
    """A library for `Host`; with `watch` for `Watched`."""
    text = folder / "propagate.cu"
    text.write_text(source)
    library = folder / "propagate.so"
    parts = [folder / "driver.o"]
    options = [*cuda.compile_options(dtype, connection, wide), optimise, f'-DSOURCE="{text}"']
    _compile(FOLDER / "driver.cpp", parts[0], *options, *(["-DWATCH", "-fsanitize=thread"] if watch else []))
    if watch:
        parts.append(folder / "watch.o")
        _compile(FOLDER / "watch.cpp", parts[1], "-O1")
    subprocess.run(["g++", "-shared", *map(str, parts), "-o", str(library)], check=True, capture_output=True, text=True)
    return library


def _compile(source: Path, target: Path, *options: str) -> None:
    command = ["g++", "-fPIC", "-w", *options, "-c", str(source), "-o", str(target)]
    subprocess.run(command, check=True, capture_output=True, text=True)


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

    def results(self, x, gates, directions, merge, grad, gpu, order=ASCENDING) -> list[Tensor]:
        """The map, the gradient of x and that of the gates."""
        out, winner = self.forward(x, gates, directions, merge, merge == "max", gpu, order)
        return [out, *self.backward(grad, x, gates, winner, directions, merge, gpu, order)]

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
            assert problem == 0, f"{launch.kernel}: {self._explain(problem)}"
        return plan.results

    def _explain(self, problem: int) -> str:
        return _PROBLEMS[problem]


class Watched(Host):
    """A host on which no thread may race with another, stray from the tensors, or leave a result unwritten."""

    def __init__(self, library: Path) -> None:
        super().__init__(library)
        self.library.watch_problem.restype = ctypes.c_char_p

    def forward(self, x, gates, *arguments, **options):
        self.inputs = {"x": x, "gates": gates}
        return super().forward(x, gates, *arguments, **options)

    def backward(self, grad, x, gates, winner, *arguments, **options):
        self.inputs = {"grad": grad, "x": x, "gates": gates, "winner": winner}
        return super().backward(grad, x, gates, winner, *arguments, **options)

    def _run(self, plan: cuda.Plan, order: int) -> tuple[Tensor, Tensor]:
        self.library.watch_forget()
        outputs = {f"result {i}": tensor for i, tensor in enumerate(plan.results)}
        scratch = {f"scratch {i}": tensor for i, tensor in enumerate(plan.scratch)}
        known = [tensor.data_ptr() for tensor in plan.results]  # directions may be merged in the result itself
        states = {name: self._watch(name, tensor, _INPUT) for name, tensor in self.inputs.items()}
        for name, tensor in (outputs | scratch).items():
            if name in outputs or tensor.data_ptr() not in known:
                states[name] = self._watch(name, tensor, _UNWRITTEN)
        results = super()._run(plan, order)
        for name in outputs:
            assert (states[name] == _WRITTEN).all(), f"{name} was not written everywhere"
        return results

    def _watch(self, name: str, tensor: Tensor, state: int) -> Tensor:
        """A byte for each element from the tensor's first to its last, which watch.cpp keeps up to date."""
        span = 1 + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.stride(), strict=True))
        states = torch.zeros(span if tensor.numel() else 0, dtype=torch.uint8)
        if tensor.numel():
            states.as_strided(tensor.shape, tensor.stride()).fill_(state)
        self.library.watch_tensor(
            name.encode(),
            ctypes.c_void_p(tensor.data_ptr()),
            ctypes.c_size_t(states.numel()),
            tensor.element_size(),
            ctypes.c_void_p(states.data_ptr()),
        )
        return states

    def _explain(self, problem: int) -> str:
        return self.library.watch_problem().decode() if problem == 5 else super()._explain(problem)


def survives(library: Path, cases: Path) -> bool:
    """Whether a library agrees with the expected results in every case, in every order of threads and blocks."""
    host = Host(library)
    for x, gates, merge, grad, gpu, expected in torch.load(cases, weights_only=True):
        for order in (ASCENDING, DESCENDING, SHUFFLED):
            try:
                results = host.results(x, gates, DIRECTIONS, merge, grad, GPUS[gpu], order)
            except AssertionError:
                return False
            for result, right in zip(results, expected, strict=True):
                if not torch.allclose(result, right, rtol=1e-9, atol=1e-9, equal_nan=True):
                    return False
    return True


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


if __name__ == "__main__":
    sys.exit(SURVIVES if survives(Path(sys.argv[1]), Path(sys.argv[2])) else CAUGHT)
