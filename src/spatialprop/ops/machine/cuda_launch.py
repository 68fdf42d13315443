"""Launches of our CUDA sources through CuPy, on PyTorch's memory and streams."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy.typing as npt
import torch

from spatialprop.ops.contract import state_dtype

_C_TYPES = {torch.float64: "double", torch.float32: "float", torch.bfloat16: "Bfloat16", torch.float16: "Float16"}


class Gpu(NamedTuple):
    """The properties of a GPU that plans depend on."""

    multiprocessors: int
    shared_per_block: int  # bytes a block may have, if it asks for them
    shared_per_multiprocessor: int


class Launch(NamedTuple):
    kernel: str
    grid: tuple[int, int]
    threads: int
    shared: int  # bytes
    call: npt.NDArray[Any]  # the kernel's only argument, an array of one element


@cache
def read_source(name: str) -> str:
    """Return the text to compile for a source file of ours."""
    folder = Path(__file__).parents[1]
    return "".join((folder / part).read_text(encoding="utf-8") for part in ("machine/stored.cu", name))


def type_options(dtype: torch.dtype) -> tuple[str, ...]:
    """Return the definitions that stored.cu needs."""
    return ("-std=c++17", f"-DSTORED={_C_TYPES[dtype]}", f"-DSTATE={_C_TYPES[state_dtype(dtype)]}")


def launch_all(launches: Sequence[Launch], source: str, options: tuple[str, ...], index: int) -> None:
    """Make the launches, in their order, on the GPU with this index."""
    import cupy

    with cupy.cuda.Device(index), _current_stream(index):
        for launch in launches:
            kernel = _kernel(index, source, launch.kernel, options, launch.shared > 0)
            kernel(launch.grid, (launch.threads,), (launch.call,), shared_mem=launch.shared)


_compiling = Lock()


def _kernel(index: int, source: str, name: str, options: tuple[str, ...], uses_shared: bool) -> Any:
    with _compiling:
        return _compiled(index, source, name, options, uses_shared)


@cache
def _compiled(index: int, source: str, name: str, options: tuple[str, ...], uses_shared: bool) -> Any:
    import cupy

    kernel = cupy.RawModule(code=read_source(source), options=options).get_function(name)
    if uses_shared:
        kernel.max_dynamic_shared_size_bytes = gpu_of(index).shared_per_block
        kernel.preferred_shared_memory_carveout = 100  # per cent: nearly all that passes through L1 is read once
    return kernel


@cache
def gpu_of(index: int) -> Gpu:
    import cupy

    attributes = cupy.cuda.Device(index).attributes
    return Gpu(
        attributes["MultiProcessorCount"],
        attributes["MaxSharedMemoryPerBlockOptin"],
        attributes["MaxSharedMemoryPerMultiprocessor"],
    )


class _TorchStream(NamedTuple):
    """PyTorch's stream, in the protocol by which Python libraries exchange CUDA streams."""

    pointer: int

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.pointer


def _current_stream(index: int) -> Any:
    import cupy

    return cupy.cuda.Stream.from_external(_TorchStream(torch.cuda.current_stream(index).cuda_stream))
