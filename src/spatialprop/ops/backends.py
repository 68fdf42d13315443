"""Choose the backend of a call from what was asked for, the device of its tensors and what is installed."""

import importlib.util
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad


class _Driver(NamedTuple):
    """The package through which a backend runs."""

    name: str
    module: str
    try_out: Callable[[], object]  # raises where the package is there but does not work
    how_to_get_it: str


def _find_compiler() -> object:
    from cupy.cuda import nvrtc

    return nvrtc.getVersion()


# Every compiled backend, named after the type of its device.
DRIVERS = {
    "cpu": _Driver("Numba", "numba", lambda: None, "Install it: pip install numba"),
    "cuda": _Driver(
        "CuPy",
        "cupy",
        _find_compiler,
        "Install it for your CUDA version: pip install spatialprop[cuda12] or spatialprop[cuda13]",
    ),
}


def _try_out(driver: _Driver) -> str | None:
    if importlib.util.find_spec(driver.module) is None:
        return f"{driver.name} is missing"
    try:
        driver.try_out()
    except Exception as error:  # of many kinds: libraries that are missing, too old, or for another machine
        return f"{driver.name} does not work ({' '.join(str(error).split()) or type(error).__name__})"
    return None


# Why a backend cannot run here, None if it can: of CuPy only when it is needed, since it takes long to load.
_PROBLEMS = {"cpu": _try_out(DRIVERS["cpu"])}


def why_not(device: str) -> str | None:
    """Say why the backend for a device cannot run here; None if it can."""
    if device not in _PROBLEMS:
        if torch.compiler.is_compiling():  # which cannot trace this; the call itself will say what is wrong
            return None
        _PROBLEMS[device] = _try_out(DRIVERS[device])
    return _PROBLEMS[device]


BACKENDS = ("auto", "naive", *DRIVERS)


def check_backend(backend: str) -> None:
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}; got {backend!r}")


def choose_backend(backend: str, offered: Sequence[str], *inputs: Tensor) -> str:
    """Return "naive" or one of the compiled backends that an operator has, for inputs that are on one device."""
    chosen = _resolve(backend, offered, inputs[0].device)
    if chosen == "naive" or not any(map(_has_tangent, inputs)):
        return chosen
    if backend != "auto":
        raise RuntimeError(
            f"backend={backend!r} has no forward-mode derivatives (torch.func.jvp, dual tensors); use "
            f"backend='naive' or 'auto'"
        )
    return "naive"


def _has_tangent(tensor: Tensor) -> bool:
    try:
        return forward_ad.unpack_dual(tensor).tangent is not None  # type: ignore[no-untyped-call]
    except RuntimeError:  # inside torch.vmap PyTorch cannot tell; there the operator itself refuses forward mode
        return False


def _resolve(backend: str, offered: Sequence[str], device: torch.device) -> str:
    check_backend(backend)
    if backend == "auto":
        native = "cpu" if device.type == "meta" else device.type
        if native not in offered:
            return "naive"
        problem = why_not(native)
        if problem and not torch.compiler.is_compiling():
            _warn(problem, DRIVERS[native])
        return "naive" if problem else native
    if backend == "naive":
        return backend
    if backend not in offered:
        raise ValueError(f"this operator has no backend {backend!r}; use one of auto, naive, {', '.join(offered)}")
    if device.type == backend and (problem := why_not(backend)):
        driver = DRIVERS[backend]
        raise ImportError(f"backend={backend!r} needs {driver.name}, but {problem}. {driver.how_to_get_it}")
    if device.type not in (backend, "meta"):
        raise ValueError(
            f"backend={backend!r} needs tensors on a {backend} device; got {device}. "
            f"Move them with .to({backend!r}), or use backend='auto'"
        )
    return backend


@cache
def _warn(problem: str, driver: _Driver) -> None:
    warnings.warn(
        f"{problem}, so the operators run in their slow naive form. {driver.how_to_get_it}",
        stacklevel=_depth_of_caller(),
    )


def _depth_of_caller() -> int:
    """How far up the stack the first line outside of this package is, as `warnings.warn` counts for our caller."""
    depth, frame = 1, sys._getframe(1)
    while frame.f_back and str(frame.f_globals.get("__name__")).split(".")[0] == __name__.split(".")[0]:
        depth, frame = depth + 1, frame.f_back
    return depth
