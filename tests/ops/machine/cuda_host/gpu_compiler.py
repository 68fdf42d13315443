"""NVIDIA's compiler as a library: compiles for any GPU, and needs none."""

import ctypes
import os
import re
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest


class Kernel(NamedTuple):
    """What a compiled kernel takes of each thread."""

    name: str
    registers: int
    stack_bytes: int
    spilled_bytes: int


def require(condition: bool, what: str) -> None:
    """In CI nothing may be missing; elsewhere the test is left out."""
    if not condition:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{what} is missing")


def compile_for_gpu(source: str, options: Sequence[str], capability: int) -> list[Kernel]:
    # CuPy adds the first of these to whatever options it is given.
    report = _compile(source, [*options, "-ftz=true", f"-arch=sm_{capability}", "--ptxas-options=-v"])
    found = re.findall(
        r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
        r".*?Used (\d+) registers",
        report,
        re.DOTALL,
    )
    return [
        Kernel(name, int(registers), int(stack), int(stores) + int(loads))
        for name, stack, stores, loads, registers in found
    ]


def _compile(source: str, options: Sequence[str]) -> str:
    """The compiler's report."""
    found = list(Path(sysconfig.get_paths()["purelib"]).glob("nvidia/**/libnvrtc.so.*"))
    require(bool(found), "NVRTC (pip install nvidia-cuda-nvrtc)")
    newest = max(found, key=lambda path: int(path.suffix[1:]))  # beside it may lie PyTorch's own, which can be older
    for needed in newest.parent.glob("libnvrtc-builtins.so.*"):  # 13.0 does not find them by itself
        ctypes.CDLL(str(needed))
    library, program, size = ctypes.CDLL(str(newest)), ctypes.c_void_p(), ctypes.c_size_t()
    assert library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"source.cu", 0, None, None) == 0
    encoded = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    status = library.nvrtcCompileProgram(program, len(options), encoded)
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, log)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    assert status == 0, log.value.decode()
    return log.value.decode()
