"""Builds our CUDA sources for the host and carries out plans of launches on it."""

import ctypes
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

from spatialprop.ops.machine.cuda_launch import Plan
from tests.fresh import ROOT, python

FOLDER = Path(__file__).parent
ASCENDING, DESCENDING, SHUFFLED = 0, 1, 12345
ORDERS = (ASCENDING, DESCENDING, SHUFFLED)
SURVIVES, CAUGHT = 10, 11  # exit statuses
_GUARD = 64  # elements around every allocation
_INPUT, _UNWRITTEN, _WRITTEN = 1, 2, 3  # of an element, as in watch.cpp; 0: it belongs to no tensor
_PROBLEMS = {
    1: "no such kernel",
    2: "not all threads of a block meet at the same barrier",
    3: "shared memory was written beyond what the plan asked for",
    4: "the plan asks for more shared memory than the host has",
    6: "blocks wait for each other, or for one that cannot start before they end",
}


def build(folder: Path, source: str, options: Sequence[str], optimise: str = "-O1", watch: bool = False) -> Path:
    """A library for `Host`; with `watch` for `Watched`."""
    folder = Path(tempfile.mkdtemp(dir=folder))  # a library that is loaded must not be written over
    text = folder / "source.cu"
    text.write_text(source)
    library = folder / "source.so"
    parts = [folder / "driver.o"]
    kernels = " ".join(f"KERNEL({name})" for name in kernels_of(source))
    options = [*options, optimise, f'-DSOURCE="{text}"', f"-DKERNELS={kernels}"]
    _compile(FOLDER / "driver.cpp", parts[0], *options, *(["-DWATCH", "-fsanitize=thread"] if watch else []))
    if watch:
        parts.append(folder / "watch.o")
        _compile(FOLDER / "watch.cpp", parts[1], "-O1")
    subprocess.run(["g++", "-shared", *map(str, parts), "-o", str(library)], check=True, capture_output=True, text=True)
    return library


def kernels_of(source: str) -> list[str]:
    return re.findall(r"__global__ void (?:__launch_bounds__\([^)]*\) )?(\w+)\(", source)


def _compile(source: Path, target: Path, *options: str) -> None:
    command = ["g++", "-fPIC", "-w", *options, "-c", str(source), "-o", str(target)]
    subprocess.run(command, check=True, capture_output=True, text=True)


class Host:
    """A library built from a CUDA source, in the place of a GPU."""

    def __init__(self, library: Path) -> None:
        self.library = ctypes.CDLL(str(library))

    def run(self, plan: Plan, order: int, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Carry out a plan; `inputs` are the tensors that it only reads, in its order."""
        allocated = plan.allocate(inputs)
        self._begin(plan, inputs, allocated)
        for launch, call in zip(plan.launches, plan.calls(inputs, allocated), strict=True):
            assert self.library.call_bytes() == launch.bytes_of_call
            problem = self.library.launch(
                launch.kernel.encode(), call, *launch.grid, launch.threads, launch.shared, ctypes.c_uint64(order)
            )
            assert problem == 0, f"{launch.kernel}: {self._explain(problem)}"
        self._end(plan, allocated)
        return plan.results(allocated)

    def _begin(self, plan: Plan, inputs: Sequence[Tensor], allocated: Sequence[Tensor]) -> None:
        pass

    def _end(self, plan: Plan, allocated: Sequence[Tensor]) -> None:
        pass

    def _explain(self, problem: int) -> str:
        return _PROBLEMS[problem]


class Watched(Host):
    """A host on which no thread may race with another, stray from the tensors, or leave a result unwritten."""

    def __init__(self, library: Path) -> None:
        super().__init__(library)
        self.library.watch_problem.restype = ctypes.c_char_p

    def _begin(self, plan: Plan, inputs: Sequence[Tensor], allocated: Sequence[Tensor]) -> None:
        self.library.watch_forget()
        self._states = [
            self._watch(buffer.name, tensor, _WRITTEN if buffer.zeroed else _UNWRITTEN)
            for buffer, tensor in zip(plan.buffers, allocated, strict=True)
        ]
        self._inputs = [self._watch(f"input {i}", tensor, _INPUT) for i, tensor in enumerate(inputs)]

    def _end(self, plan: Plan, allocated: Sequence[Tensor]) -> None:
        results = [result.data_ptr() for result in plan.results(allocated)]
        for buffer, tensor, states in zip(plan.buffers, allocated, self._states, strict=True):
            assert tensor.data_ptr() not in results or (states == _WRITTEN).all(), (
                f"{buffer.name} was not written everywhere"
            )

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

    def new_zeros(like, size, dtype=None):
        return new_empty(like, size, dtype).zero_()

    with patch.object(Tensor, "new_empty", new_empty), patch.object(Tensor, "new_zeros", new_zeros):
        yield
    for whole in surroundings:
        bits = whole.view(torch.uint8)
        edge = _GUARD * whole.itemsize
        assert (bits[:edge] == 0xFF).all(), "memory before an allocation was written"
        assert (bits[-edge:] == 0xFF).all(), "memory behind an allocation was written"


def verdict(module: str, library: Path, cases: Path, *options: str) -> int | None:
    """What `module` says of a library, in a process of its own: a mutant may crash, or never end (None)."""
    try:
        return python("-m", module, str(library), str(cases), *options, folder=ROOT, timeout=120).returncode
    except subprocess.TimeoutExpired:
        return None


def is_caught(found: int | None) -> bool:
    return found is None or found < 0 or found == CAUGHT  # endless, crashed, or wrong


def agree(results: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    return all(
        torch.allclose(result, right, rtol=1e-9, atol=1e-9, equal_nan=True)
        for result, right in zip(results, expected, strict=True)
    )


def mutate(source: str, old: str, new: str | int) -> str:
    """The source with every `old` replaced or, where `new` is a number, that one of them left out."""
    assert old in source, f"the mutant of {old!r} no longer fits the source: adapt it"
    if isinstance(new, int):
        pieces = source.split(old)
        return old.join(pieces[: new + 1]) + ";" + old.join(pieces[new + 1 :])
    return source.replace(old, new)
