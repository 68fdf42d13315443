"""What became of each file, for people or, a line of JSON each, for programs."""

import json
import sys
from pathlib import Path
from typing import NamedTuple, TextIO


class Report(NamedTuple):
    """What became of a file.

    Attributes:
        source: Its coarse map, or the name of an annotated image.
        result: Where the refined map is.
        said: What was done, in words.
        changed: Share of the pixels that changed.
        milliseconds: How long it took, reading and writing included.
        problem: What went wrong, if anything did.
        warning: What the person should look at.
    """

    source: str
    result: Path | None = None
    said: str = ""
    changed: float = 0.0
    milliseconds: float = 0.0
    problem: str = ""
    warning: str = ""

    def line(self) -> str:
        """The report as a line of JSON."""
        if self.problem:
            return json.dumps({"source": self.source, "error": self.problem})
        found = {
            "source": self.source,
            "result": None if self.result is None else str(self.result),
            "done": self.said,
            "changed": round(self.changed, 6),
            "milliseconds": round(self.milliseconds, 1),
        }
        return json.dumps(found | ({"warning": self.warning} if self.warning else {}))


class Reporter:
    """Prints reports as they come, and counts them.

    Args:
        as_json: Print a line of JSON for each file, and nothing else to stdout.
        several: Whether there are several files, of which only the remarkable ones are named.
        stream: Where to print, by default stdout.
    """

    def __init__(self, as_json: bool, several: bool = True, stream: TextIO | None = None) -> None:
        self.as_json = as_json
        self.several = several
        self._stream = stream
        self.refined = self.failed = self.planned = 0

    def add(self, report: Report) -> None:
        self.failed += bool(report.problem)
        self.refined += not report.problem
        if self.as_json:
            print(report.line(), file=self._stream, flush=True)
        elif report.problem:
            print_above_bar(report.problem)
        elif not self.several:
            print(f"{report.result}: {report.said}", file=self._stream)
        elif report.warning:
            print_above_bar(f"{report.result}: {report.warning}")

    def would(self, source: str, result: str, problem: str = "") -> None:
        """Say what a run without --dry-run would do."""
        self.planned += not problem
        self.failed += bool(problem)
        if self.as_json:
            found = {"source": source, "error": problem} if problem else {"source": source, "would": result}
            print(json.dumps(found), file=self._stream)
        elif problem:
            print(problem, file=sys.stderr)
        else:
            print(f"{source} -> {result}", file=self._stream)

    def end(self, said: str = "", present: int = 0) -> int:
        """Sum up, and return the exit code."""
        if not self.as_json:
            counts = f"{self.refined} refined, {present} there already, {self.failed} failed"
            if self.planned:
                counts = f"{self.planned} would be refined, {present} are there already, {self.failed} cannot be"
            if self.several:
                print(counts + (f"; {said}" if said else ""), file=self._stream)
        return 1 if self.failed else 0


def print_above_bar(line: str) -> None:
    """Print to stderr, above the progress bar if there is one."""
    if "tqdm" in sys.modules:
        from tqdm import tqdm

        tqdm.write(line, file=sys.stderr)
    else:
        print(line, file=sys.stderr)
