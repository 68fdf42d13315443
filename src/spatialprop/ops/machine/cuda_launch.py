"""Plans of launches, kept from call to call, and how they are carried out: on PyTorch's memory and streams, by CuPy.

A plan depends on shapes, strides and types alone. A call allocates what the plan asks for, puts its addresses into the
plan's launches, and makes them. That takes the host some ten microseconds (benchmarks/host_time.py).
"""

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from struct import Struct
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spatialprop.ops.contract import state_dtype

_C_TYPES = {torch.float64: "double", torch.float32: "float", torch.bfloat16: "Bfloat16", torch.float16: "Float16"}


class Gpu(NamedTuple):
    """The properties of a GPU that plans depend on."""

    multiprocessors: int
    shared_per_block: int  # bytes a block may have, if it asks for them
    shared_per_multiprocessor: int


class Layout(NamedTuple):
    """Where the numbers of a tensor are, but for its address."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype
    aligned: bool  # whether its address is a multiple of 16


def layout_of(tensor: Tensor) -> Layout:
    return Layout(tensor.shape, tensor.stride(), tensor.dtype, tensor.data_ptr() % 16 == 0)


class Buffer(NamedTuple):
    """A tensor that a plan asks for: a result or scratch."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    zeroed: bool = False


class Launch:
    """A kernel, its grid, and its only argument, a `struct Call`, which begins with the pointers of a launch."""

    def __init__(self, kernel: str, grid: tuple[int, int], threads: int, shared: int, call: npt.NDArray[Any]) -> None:
        self.kernel, self.grid, self.threads, self.shared = kernel, grid, threads, shared  # `shared` in bytes
        self.bytes_of_call = call.itemsize
        self._call = call.tobytes()
        self._type = ctypes.c_char * call.itemsize

    def point_to(self, names: Sequence[str | None]) -> "Launch":
        """Say which tensor each pointer of the call is to; None is null."""
        self._names, self._struct = names, Struct(f"={len(names)}Q")
        return self

    def resolve(self, order: dict[str, int]) -> None:
        self._places = [0 if name is None else 1 + order[name] for name in self._names]

    def fill(self, addresses: Sequence[int]) -> Any:
        """Return the call for tensors at these addresses, of which the first is 0."""
        call = self._type.from_buffer_copy(self._call)
        self._struct.pack_into(call, 0, *[addresses[place] for place in self._places])
        return call


class Plan:
    """What a call allocates and launches.

    Args:
        inputs: Names of the tensors that are passed in.
        buffers: What is to be allocated. A stream's order protects scratch once the launches are made.
        results: Names of the buffers that the caller gets.
        launches: In their order.
        source: The file of the kernels.
        options: What it is compiled with.
    """

    def __init__(
        self,
        inputs: Sequence[str],
        buffers: Sequence[Buffer],
        results: Sequence[str],
        launches: Sequence[Launch],
        source: str,
        options: tuple[str, ...],
    ) -> None:
        self.buffers, self.launches, self.source, self.options = buffers, launches, source, options
        order = {name: i for i, name in enumerate([*inputs, *(buffer.name for buffer in buffers)])}
        self._results = [order[name] - len(inputs) for name in results]
        for launch in launches:
            launch.resolve(order)
        self._kernels: dict[int, list[int]] = {}

    def allocate(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        like = inputs[0]
        return [
            like.new_zeros(buffer.shape, dtype=buffer.dtype)
            if buffer.zeroed
            else like.new_empty(buffer.shape, dtype=buffer.dtype)
            for buffer in self.buffers
        ]

    def results(self, allocated: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple([allocated[i] for i in self._results])

    def calls(self, inputs: Sequence[Tensor], allocated: Sequence[Tensor]) -> list[Any]:
        """Return the argument of each launch, for these inputs and buffers."""
        addresses = [0, *[one.data_ptr() for one in inputs], *[one.data_ptr() for one in allocated]]
        return [launch.fill(addresses) for launch in self.launches]

    def run(self, index: int, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Carry the plan out on the GPU with this index, on PyTorch's current stream."""
        kernels = self._kernels.get(index)
        if kernels is None:
            kernels = self._kernels[index] = [
                _address_of(index, self.source, launch.kernel, self.options, launch.shared > 0)
                for launch in self.launches
            ]
        allocated = self.allocate(inputs)
        stream = torch.cuda.current_stream(index).cuda_stream
        calls = self.calls(inputs, allocated)
        if torch.cuda.current_device() == index:
            self._launch(kernels, calls, stream)
        else:
            with torch.cuda.device(index):
                self._launch(kernels, calls, stream)
        return self.results(allocated)

    def _launch(self, kernels: Sequence[int], calls: Sequence[Any], stream: int) -> None:
        make = _driver().launchKernel
        for launch, kernel, call in zip(self.launches, kernels, calls, strict=True):
            arguments = ctypes.c_void_p(ctypes.addressof(call))  # an array of one: the only argument's address
            x, y = launch.grid
            make(kernel, x, y, 1, launch.threads, 1, 1, launch.shared, stream, ctypes.addressof(arguments), 0)


def type_options(dtype: torch.dtype) -> tuple[str, ...]:
    """Return the definitions that stored.cu needs."""
    return ("-std=c++17", f"-DSTORED={_C_TYPES[dtype]}", f"-DSTATE={_C_TYPES[state_dtype(dtype)]}")


@cache
def read_source(name: str) -> str:
    """Return the text to compile for a source file of ours."""
    folder = Path(__file__).parents[1]
    return "".join((folder / part).read_text(encoding="utf-8") for part in ("machine/stored.cu", name))


def call_type(pointers: Sequence[str], *fields: tuple[Any, ...]) -> np.dtype[Any]:
    """Return the type of a `struct Call`: its pointers, then these fields, without gaps."""
    return np.dtype([*((name, np.uint64) for name in pointers), *fields])


_loading = Lock()


def _address_of(index: int, source: str, name: str, options: tuple[str, ...], uses_shared: bool) -> int:
    with _loading:
        return _load(index, source, name, options, uses_shared)[0]


@cache
def _load(index: int, source: str, name: str, options: tuple[str, ...], uses_shared: bool) -> tuple[int, Any]:
    """Compile a kernel, unless CuPy finds it on disk; return its address and what keeps it there."""
    if torch.cuda.is_current_stream_capturing():
        raise RuntimeError(
            f"{name} is not loaded yet, and a CUDA graph that is being captured cannot load it. Make one call of the "
            "same dtype, connection and options before the capture (torch.cuda.graph asks for such a warm-up anyway)"
        )
    import cupy

    with cupy.cuda.Device(index):
        kernel = _module(index, source, options).get_function(name)
        if uses_shared:
            kernel.max_dynamic_shared_size_bytes = gpu_of(index).shared_per_block
            kernel.preferred_shared_memory_carveout = 100  # per cent: nearly all that passes through L1 is read once
        return kernel.kernel.ptr, kernel


@cache
def _module(index: int, source: str, options: tuple[str, ...]) -> Any:
    import cupy

    return cupy.RawModule(code=read_source(source), options=options)


@cache
def _driver() -> Any:
    from cupy.cuda import driver

    return driver


@cache
def gpu_of(index: int) -> Gpu:
    import cupy

    attributes = cupy.cuda.Device(index).attributes
    return Gpu(
        attributes["MultiProcessorCount"],
        attributes["MaxSharedMemoryPerBlockOptin"],
        attributes["MaxSharedMemoryPerMultiprocessor"],
    )
