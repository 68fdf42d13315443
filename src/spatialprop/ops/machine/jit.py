"""Compile kernels with Numba: where the compiled code goes, and a word to whoever waits for it."""

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from threading import Timer
from typing import Any

from numba import njit
from numba.core import event

_PATIENCE = 1.0  # seconds of compilation before the user is told
_OPS = Path(__file__).parents[1]
# Numba sees changes to the file that defines a kernel, but not to those it imports. So the name of the compiled code
# depends on all of them: an upgraded package never runs old kernels.
_SOURCES = sorted([_OPS / "contract.py", *_OPS.glob("machine/*.py"), *_OPS.glob("*/cpu/*.py")])
_VERSION = hashlib.sha256(b"".join(path.read_bytes() for path in _SOURCES)).hexdigest()[:12]


def _can_cache() -> bool:
    """Whether Numba finds a place for compiled code: a read-only install without a home directory has none."""
    try:
        njit(cache=True)(_can_cache)
    except RuntimeError:
        return False
    return True


CAN_CACHE = _can_cache()


def _compiler(cache: bool = CAN_CACHE, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    def decorate(function: Callable[..., Any]) -> Any:
        function.__qualname__ += f"-{_VERSION}"  # Numba names the files of the compiled code after it
        return njit(nogil=True, cache=cache, error_model="numpy", **options)(function)

    return decorate


# Kernels only are called from Python, and their compiled code holds that of all functions that they call: so those have
# no wrappers, and are not kept on their own.
_INNER = {"cache": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
compiled = _compiler(no_cfunc_wrapper=True)  # kernels
inner = _compiler(**_INNER)
inlined = _compiler(forceinline=True, **_INNER)  # for functions of a few instructions
kernel_part = _compiler(inline="always")  # compiled as a part of its kernel, never on its own


class _Notice(event.Listener):
    """Tell the user, once a process, what a long compilation is."""

    def __init__(self) -> None:
        self._running = 0  # kernels compile the functions that they call
        self._timer: Timer | None = None
        self._told = False

    def on_start(self, compilation: Any) -> None:
        self._running += 1
        if self._timer is None and not self._told and _is_ours(compilation):
            self._timer = Timer(_PATIENCE, self._tell)
            self._timer.daemon = True
            self._timer.start()

    def on_end(self, compilation: Any) -> None:
        self._running -= 1
        if self._running == 0 and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell(self) -> None:
        self._told = True
        kept = "kept on disk" if CAN_CACHE else "lost with this process: set NUMBA_CACHE_DIR to a folder to keep it"
        logging.getLogger("spatialprop").warning(
            "Compiling CPU kernels, about 20 seconds for each dtype; the result is %s. "
            "`spatialprop warmup` compiles all of them in advance.",
            kept,
        )


def _is_ours(compilation: Any) -> bool:
    return str(compilation.data["dispatcher"].py_func.__module__).startswith("spatialprop.")


event.register("numba:compile", _Notice())  # type: ignore[no-untyped-call]
