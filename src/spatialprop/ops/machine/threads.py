"""Memory for results, tensors as flat arrays, and work divided between threads."""

import ctypes
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

Flat = npt.NDArray[Any]

# Numba knows no half precision: its bits are passed as integers, of a type that tells the two kinds apart.
_CODED = {torch.bfloat16: torch.int16, torch.float16: torch.uint16}

_HUGE_PAGE = 2 << 20
_MADV_HUGEPAGE = 14
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None

_WORTH_A_THREAD = 150_000  # nanoseconds, about the time to wake a thread and to wait for it


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Allocate memory for a result, in huge pages where Linux has them.

    The first touch of fresh memory costs a page fault for every 4 KiB, which for large results takes longer than
    computing them.
    """
    result = torch.empty(tuple(shape), dtype=dtype)
    size = result.numel() * result.itemsize
    if _LIBC is not None and size >= 2 * _HUGE_PAGE:
        first = -(-result.data_ptr() // _HUGE_PAGE) * _HUGE_PAGE
        last = (result.data_ptr() + size) // _HUGE_PAGE * _HUGE_PAGE
        _LIBC.madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), _MADV_HUGEPAGE)
    return result


def flat(tensor: Tensor) -> Flat:
    """Return all memory that a tensor spans as a flat array, in which its strides lead to its elements."""
    tensor = tensor.detach()
    if tensor.is_contiguous():
        memory = tensor.view(-1)
    else:
        extent = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
        memory = tensor.as_strided((extent,), (1,))
    return memory.view(_CODED.get(tensor.dtype, tensor.dtype)).numpy()


def run_threaded(work: Callable[[int, int], None], items: int, nanoseconds: float) -> None:
    """Run work(first, last) over all items, on as many threads as PyTorch itself would use.

    It takes fewer if there is little to do: `nanoseconds` is about what one thread alone would take.
    """
    worthwhile = max(1, int(nanoseconds / _WORTH_A_THREAD))
    threads = min(torch.get_num_threads(), items, worthwhile)
    ranges = [(items * i // threads, items * (i + 1) // threads) for i in range(threads)]

    def work_off() -> None:
        while True:
            try:
                first, last = ranges.pop()  # atomic, so that no other thread gets it
            except IndexError:
                return
            work(first, last)

    futures = []
    try:
        # No thread can start while the interpreter exits, or beyond a limit: then this one does the rest.
        with suppress(RuntimeError):
            for _ in range(threads - 1):
                futures.append(_pool(os.getpid()).submit(work_off))
        work_off()
    finally:  # a task that has not started has nothing left to do; wait for the others
        failures = [future.exception() for future in futures if not future.cancel()]
    for failure in failures:
        if failure is not None:
            raise failure


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Return the threads of a process: they do not survive a fork."""
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="spatialprop")
