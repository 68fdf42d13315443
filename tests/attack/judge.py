"""What may become of a try: it is taken, or refused in words for people. Everything else is a finding."""

import contextlib
import io
import os
import resource
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from spatialprop.cli import main

SECONDS, PATIENCE = 60, 600  # of work, and of waiting on a machine with much else to do
MEMORY = 1 << 30  # bytes that a single try may add to the peak of the process
CANARY = "owned"  # a file of this name is what hostile code would write
ADVICE = ("weights_only=False", "weights_only` to `False", "allow_pickle=True", "Traceback (most recent call last)")
REFUSALS = (ValueError, TypeError, OSError, ImportError)


class Try(NamedTuple):
    """One try: what it is called, and what it does in an empty folder, which is the current one."""

    name: str
    act: Callable[[], object]


class Verdict(NamedTuple):
    kind: str  # taken, refused or wrong
    why: str = ""


class TooLongError(BaseException):
    """No handler of errors may swallow it."""


class RefusedError(ValueError):
    """For generators that call commands: what was said."""


def command(words: list[str], codes: tuple[int, ...] = (0, 1, 2)) -> None:
    """Run a command; one that refuses must say why."""
    said, told, argv = io.StringIO(), io.StringIO(), sys.argv[:]
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(told):
            code = main(words)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        said.write("" if isinstance(stop.code, int | None) else str(stop.code))
    finally:
        sys.argv[:] = argv
    text = said.getvalue() or (told.getvalue() if "--json" in words else "")
    if code not in codes:
        raise AssertionError(f"exit code {code}: {text}")
    if code:
        raise RefusedError(text)
    print(told.getvalue(), text)  # for the judge


def judged(one: Try) -> Verdict:
    """Do it, and judge what becomes of it."""
    before = os.getcwd()
    peak = _peak()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            verdict = _verdict(one)
        finally:
            os.chdir(before)
        if any(Path(folder).rglob(CANARY)):
            return Verdict("wrong", "it wrote a file that only hostile code would write")
        if any(Path(folder).rglob(".*.part")):
            return Verdict("wrong", "it left a half-written file")
    if _peak() - peak > MEMORY:
        return Verdict("wrong", f"it took {(_peak() - peak) >> 20} MiB")
    return verdict


def _verdict(one: Try) -> Verdict:
    said = io.StringIO()
    try:
        with _limited(), warnings.catch_warnings(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            warnings.simplefilter("ignore")
            one.act()
    except TooLongError:
        return Verdict("wrong", f"it took more than {SECONDS} seconds")
    except REFUSALS as error:
        text = str(error)
        advised = [advice for advice in ADVICE if advice in text + said.getvalue()]
        if advised or not text.strip():
            return Verdict("wrong", f"it says {text[:300]!r}, {said.getvalue()[-300:]!r}")
        return Verdict("refused", text)
    except (Exception, SystemExit) as error:
        return Verdict(
            "wrong", f"{type(error).__name__}: {error}\n{''.join(traceback.format_tb(error.__traceback__)[-3:])}"
        )
    if any(advice in said.getvalue() for advice in ADVICE):
        return Verdict("wrong", f"it says {said.getvalue()[-300:]!r}")
    return Verdict("taken")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    def end(*_: object) -> None:
        raise TooLongError

    clocks = {signal.SIGPROF: (signal.ITIMER_PROF, SECONDS), signal.SIGALRM: (signal.ITIMER_REAL, PATIENCE)}
    before = {number: signal.signal(number, end) for number in clocks}
    for clock, seconds in clocks.values():
        signal.setitimer(clock, seconds)
    try:
        yield
    finally:
        for number, (clock, _) in clocks.items():
            signal.setitimer(clock, 0)
            signal.signal(number, before[number])
