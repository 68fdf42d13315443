"""What a command says: that it cannot be heard must not stop what it does."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


class _Lenient:
    """A stream that writes what it can: it escapes letters that it lacks, and falls silent where nothing takes any."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self.failed = stream, False

    def write(self, text: str) -> int:
        known = self._stream.encoding or "utf-8"
        if not self.failed:
            try:
                self._stream.write(text.encode(known, "backslashreplace").decode(known))
            except OSError:
                self._fail()
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._fail()

    def _fail(self) -> None:
        if not self.failed:
            self.failed = True
            with suppress(OSError, ValueError):  # Python writes what is left when it ends, and would fail again
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def lenient_output() -> Iterator[None]:
    """Write to stdout and stderr for as long as they take it: a full disk, a closed pipe, letters that are unknown.

    Results that lie on disk are results, whether or not their names can be shown.
    """
    before = sys.stdout, sys.stderr
    lenient = _Lenient(sys.stdout), _Lenient(sys.stderr)
    sys.stdout, sys.stderr = lenient
    try:
        yield
    finally:
        for stream in lenient:
            stream.flush()
        sys.stdout, sys.stderr = before
