"""Which backend runs a call: what was asked for, the device, and what is installed."""

import importlib.util
import sys
import warnings
from functools import cache

import torch
from torch import Tensor
from torch._C import _functorch
from torch.autograd import forward_ad

BACKENDS = ("auto", "naive", "cpu", "cuda")
_HOW_TO_GET_CUPY = "Install it for your CUDA version: pip install spatialprop[cuda12] or spatialprop[cuda13]"


def check_backend(backend: str) -> None:
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}; got {backend!r}")


def choose_backend(backend: str, *inputs: Tensor) -> str:
    """ "naive", "cpu" or "cuda", for inputs that are on one device."""
    chosen = _resolve(backend, inputs[0].device)
    if chosen == "naive":
        return chosen
    # The registered operators would drop the tangents of forward mode and so say that the derivative is zero; of
    # PyTorch's functional transforms they know vmap alone.
    compiling, unsupported = torch.compiler.is_compiling(), None
    if _in_functional_derivative() and (compiling or any(map(_is_tracked, inputs))):
        unsupported = "torch.func"
    elif not compiling and _in_forward_mode(*inputs):
        unsupported = "forward-mode"
    if unsupported and backend != "auto":
        raise RuntimeError(f"backend={backend!r} has no {unsupported} derivatives; use backend='naive' or 'auto'")
    return "naive" if unsupported else chosen


def _in_forward_mode(*tensors: Tensor) -> bool:
    if forward_ad._current_level < 0:
        return False
    return any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors)  # type: ignore[no-untyped-call]


def _in_functional_derivative() -> bool:
    stack = _functorch.get_interpreter_stack() or ()
    return any(one.key() in (_functorch.TransformType.Grad, _functorch.TransformType.Jvp) for one in stack)


# What torch.compiler.assume_constant_result sets, without the seconds that it takes to import the compiler.
_in_functional_derivative._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _is_tracked(tensor: Tensor) -> bool:
    """Whether one of the transforms takes a derivative with respect to this tensor."""
    while _functorch.is_functorch_wrapped_tensor(tensor):
        if _functorch.is_gradtrackingtensor(tensor):
            return True
        tensor = _functorch.get_unwrapped(tensor)
    return False


def _resolve(backend: str, device: torch.device) -> str:
    check_backend(backend)
    if backend == "auto":
        if device.type == "cuda":
            return "cuda" if _cupy_found() else "naive"
        return "cpu" if device.type in ("cpu", "meta") else "naive"
    if backend == "cuda" and device.type == "cuda" and not _cupy_installed():
        raise ImportError(f"backend='cuda' needs CuPy. {_HOW_TO_GET_CUPY}")
    if backend in ("cpu", "cuda") and device.type not in (backend, "meta"):
        raise ValueError(
            f"backend={backend!r} needs tensors on a {backend} device; got {device}. "
            f"Move them with .to({backend!r}), or use backend='auto'"
        )
    return backend


def _cupy_found() -> bool:
    if not _cupy_installed() and not torch.compiler.is_compiling():
        _warn_of_missing_cupy()
    return _cupy_installed()


@cache
def _cupy_installed() -> bool:
    return importlib.util.find_spec("cupy") is not None


@cache
def _warn_of_missing_cupy() -> None:
    warnings.warn(
        f"CuPy is missing, so the operators run in their slow naive form. {_HOW_TO_GET_CUPY}",
        stacklevel=_depth_of_caller(),
    )


def _depth_of_caller() -> int:
    """How far up the stack the first line outside of this package is, as `warnings.warn` counts for our caller."""
    depth, frame = 1, sys._getframe(1)
    while frame.f_back and str(frame.f_globals.get("__name__")).split(".")[0] == __name__.split(".")[0]:
        depth, frame = depth + 1, frame.f_back
    return depth
