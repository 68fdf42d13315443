"""Refine one file after the other, in this process or in several."""

import multiprocessing
import os
import signal
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

from spatialprop.cli.refine.jobs import OVERLAY, PROBABILITIES, SHEET, Job
from spatialprop.cli.refine.unknown import open_with_unknown
from spatialprop.cli.stopping import ENDED
from spatialprop.drawing import overlay, sheet
from spatialprop.errors import InputError
from spatialprop.maskfiles import CoarseFile, Labels, Palette, Refined, read_coarse, read_image, write_picture
from spatialprop.refiner import Refiner, Rough

_HARDLY_ANY = 0.0005  # of the pixels
_PATIENCE = 10  # seconds that a worker has to delete what is half-written


@dataclass(frozen=True)
class Settings:
    """What the command line asks for, the same for all files."""

    weights: str
    device: str
    kind: str
    palette: Palette | None
    classes: int | None
    restrict: bool
    rough: Rough
    unknown: int | None
    most_pixels: int
    extras: tuple[str, ...]  # endings of the files written beside each result


@dataclass(frozen=True)
class Outcome:
    """The result of one file, how it differs from the coarse map and which classes it lost, or what went wrong."""

    job: Job
    result: Path | None = None
    summary: str = ""
    lost: str = ""
    problem: str = ""
    changed: float = 0.0  # share of the pixels
    milliseconds: float = 0.0


def refine_file(refiner: Refiner, job: Job, settings: Settings) -> Outcome:
    """Read, refine and write one file, or say what went wrong."""
    start = time.perf_counter()
    try:
        image = read_image(job.image, settings.most_pixels)
        coarse = read_coarse(job.coarse, settings.kind, settings.palette, settings.most_pixels)
        result = job.beside(job.suffix or coarse.suffix(job.coarse))
        coarse.check(result, image.shape[:2])
        options = coarse.refining(settings.restrict, settings.classes)
        opened: Refined
        if settings.unknown is not None and isinstance(coarse, Labels):
            opened = open_with_unknown(refiner, image, coarse.values, settings.unknown, settings.restrict)
        else:
            opened = refiner.open(image, coarse.values, rough=settings.rough, **options)
        result.parent.mkdir(parents=True, exist_ok=True)
        # The result is written last, so that an existing result means a complete set of files.
        if PROBABILITIES in settings.extras:
            coarse.write_probabilities(job.beside(PROBABILITIES), opened)
        before, after = coarse.labels(image.shape[:2]), coarse.labels_of(opened, result)
        if OVERLAY in settings.extras:
            write_picture(job.beside(OVERLAY), overlay(image, after, coarse.colours()))
        if SHEET in settings.extras:
            write_picture(job.beside(SHEET), sheet(image, before, after, coarse.colours()))
        coarse.write(result, opened)
    except Exception as error:
        message = str(error) if isinstance(error, (InputError, OSError)) else f"{type(error).__name__}: {error}"
        named = any(str(path) in message for path in (job.image, job.coarse))
        return Outcome(job, problem=message if named else f"{job.coarse}: {message}")
    share = float((before != after).mean())
    changed = f"{100 * share:.1f} % of the pixels changed"
    if share < _HARDLY_ANY and settings.rough == "auto" and _are_judged(coarse, settings):
        why = "looked right" if refiner.network.judges_labels else "were believed"
        changed += f"; the borders {why}: --rough PIXELS says that they are not"
    lost = _lost(coarse, before, after, settings)
    summary = [f"{coarse.kind}, {len(np.unique(before))} classes, {changed}", lost]
    took = 1000 * (time.perf_counter() - start)
    return Outcome(job, result, ", ".join(filter(None, summary)), lost, changed=share, milliseconds=took)


def _are_judged(coarse: CoarseFile, settings: Settings) -> bool:
    """Whether it is labels that are refined, of which --rough can speak."""
    return settings.unknown is None and coarse.kind not in ("alpha", "probabilities")


def _lost(coarse: CoarseFile, before: NDArray[Any], after: NDArray[Any], settings: Settings) -> str:
    """Name the classes that have vanished."""
    gone = np.setdiff1d(before if settings.unknown is None else before[before != settings.unknown], after)
    if not gone.size:
        return ""
    advice = "; --rough 0 leaves the mask as it is" if _are_judged(coarse, settings) else ""
    if settings.rough != "auto":
        advice = "; --rough is too much for what is smaller"
    return f"nothing is left of {', '.join(map(str, coarse.codes_of(gone[:8]).tolist()))}{advice}"


def refine_all(jobs: Sequence[Job], settings: Settings, workers: int) -> Generator[Outcome, None, None]:
    """Refine all files, and yield the outcome of each; one that fails does not stop the others."""
    if workers == 1:
        refiner = Refiner.load(settings.weights, device=settings.device)
        for job in jobs:
            yield refine_file(refiner, job, settings)
        return
    Refiner.load(settings.weights)  # so that bad weights are reported once, not by every worker
    others = set(multiprocessing.active_children())
    idle: SimpleQueue[_Worker] = SimpleQueue()
    for _ in range(workers):
        idle.put(_Worker(settings, workers))
    stopped = Event()

    def refine(job: Job) -> Outcome:
        worker = idle.get()
        try:
            return Outcome(job, problem="stopped") if stopped.is_set() else worker.refine(job)
        finally:
            idle.put(worker)

    threads = ThreadPoolExecutor(workers)
    try:
        for future in as_completed([threads.submit(refine, job) for job in jobs]):
            yield future.result()
    except BaseException:  # SIGTERM reaches this process alone; the workers would go on
        stopped.set()
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:  # after Ctrl-C nothing more is handed to the workers; `with threads` would finish all files
        stopped.set()
        threads.shutdown(cancel_futures=True)
        while not idle.empty():
            idle.get().end()


class _Worker:
    """A process that refines one file after the other; if one kills it, that one is named, and the next gets another.

    A pool of several would not say which file killed its process, and would give up the others with it.
    """

    def __init__(self, settings: Settings, workers: int) -> None:
        self._settings, self._workers = settings, workers
        self._process: ProcessPoolExecutor | None = None

    def refine(self, job: Job) -> Outcome:
        if self._process is None:
            # Not forked: neither threads nor a GPU survive that.
            context = multiprocessing.get_context("spawn")
            self._process = ProcessPoolExecutor(
                1, context, initializer=_start, initargs=(self._settings, self._workers)
            )
        try:
            working = self._process.submit(_in_worker, job)
        except BrokenProcessPool:  # it was killed while it waited
            self.end()
            return self.refine(job)
        try:
            return working.result()
        except BrokenProcessPool:
            self.end()
            reason = "its worker was killed, perhaps for want of memory; try it alone, or a smaller one"
            return Outcome(job, problem=f"{job.coarse}: {reason}")

    def end(self) -> None:
        if self._process is not None:
            self._process.shutdown(cancel_futures=True)
            self._process = None


_worker: tuple[Refiner, Settings] | None = None


def _start(settings: Settings, workers: int) -> None:
    global _worker
    Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    _worker = Refiner.load(settings.weights, device=settings.device), settings
    signal.signal(signal.SIGTERM, _end)


def _end_with_parent() -> None:
    """Wait for the end of the process that started this one: nobody else tells a worker that it was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE)
    os._exit(ENDED)  # it was busy, or waited for work that will not come


def _end(*_: Any) -> NoReturn:
    raise SystemExit(ENDED)  # so that half-written files are deleted


def _in_worker(job: Job) -> Outcome:
    assert _worker is not None
    try:
        return refine_file(_worker[0], job, _worker[1])
    except SystemExit:
        os._exit(ENDED)  # the pool would take it for a result and hand over the next file
