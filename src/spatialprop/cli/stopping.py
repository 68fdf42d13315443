"""Handle SIGTERM, which service managers, containers and `timeout` send."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

ENDED = 128 + signal.SIGTERM  # the exit code as shells know it


class Terminated(KeyboardInterrupt):
    """SIGTERM came. Code that lets Ctrl-C pass lets this pass too."""


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Let SIGTERM unwind the stack, as Ctrl-C does, so that nothing is left half-done."""
    if threading.current_thread() is not threading.main_thread():  # only that one may set handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _raise(*_: Any) -> NoReturn:
    raise Terminated
