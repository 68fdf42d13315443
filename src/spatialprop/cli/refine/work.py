"""Mend one file after the other, here or in several processes."""

import multiprocessing
import os
import signal
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

from spatialprop.cli.refine.jobs import OVERLAY, PROBABILITIES, SHEET, Job
from spatialprop.cli.stopping import ENDED
from spatialprop.drawing import class_colours, overlay, sheet
from spatialprop.maskfiles.coarse_file import CoarseFile
from spatialprop.maskfiles.formats import Palette, read_coarse, read_image
from spatialprop.maskfiles.results import (
    check_holds,
    needs_probabilities,
    write_picture,
    write_probabilities,
    write_result,
)
from spatialprop.refiner import InputError, Refiner
from spatialprop.refiner.coarse_maps import most_likely
from spatialprop.refiner.inputs import to_coarse


@dataclass(frozen=True)
class Wish:
    """What the command line asks for, the same for all files."""

    weights: str
    device: str
    kind: str
    palette: Palette | None
    classes: int | None
    restrict: bool
    rough: float | None
    most_pixels: int
    extras: tuple[str, ...]  # endings of what is written beside the result


@dataclass(frozen=True)
class Outcome:
    """What became of one file: where the result is, how it differs and what got lost, or what went wrong."""

    job: Job
    result: Path | None = None
    summary: str = ""
    lost: str = ""
    problem: str = ""


def mend(refiner: Refiner, job: Job, wish: Wish) -> Outcome:
    """Read, refine and write one file."""
    image = read_image(job.image, wish.most_pixels)
    coarse = read_coarse(job.coarse, wish.kind, wish.palette, wish.most_pixels)
    result = job.result(coarse.kind)
    check_holds(result, coarse, image.shape[:2])
    colours = _colours(coarse, wish)
    before = _as_it_is(coarse, image.shape[:2])
    as_probabilities = needs_probabilities(coarse, result)
    after, probabilities, labels = _refined(refiner, image, coarse, wish, as_probabilities)
    result.parent.mkdir(parents=True, exist_ok=True)
    # The result comes last: where it is, everything is.
    if PROBABILITIES in wish.extras:
        assert probabilities is not None
        write_probabilities(job.beside(PROBABILITIES), probabilities, labels)
    if OVERLAY in wish.extras:
        write_picture(job.beside(OVERLAY), overlay(image, after, colours))
    if SHEET in wish.extras:
        write_picture(job.beside(SHEET), sheet(image, before, after, colours))
    made = probabilities if as_probabilities else after
    assert made is not None
    write_result(result, coarse, made, colours)
    changed = 100 * (before != after).mean()
    lost = _lost(coarse, before, after, wish)
    summary = f"{coarse.kind}, {len(np.unique(before))} classes, {changed:.1f} % of the pixels changed"
    return Outcome(job, result, f"{summary}, {lost}" if lost else summary, lost)


def _as_it_is(coarse: CoarseFile, size: tuple[int, ...]) -> NDArray[Any]:
    """The labels that a coarse map stands for, at the image's size."""
    if coarse.values.ndim == 2:
        return coarse.values
    shares = torch.from_numpy(np.asarray(coarse.values, np.float32))[None]
    places = np.asarray(most_likely([shares], size)[0])
    return places if coarse.classes is None else coarse.classes[places]


def _refined(
    refiner: Refiner, image: NDArray[np.uint8], coarse: CoarseFile, wish: Wish, as_probabilities: bool
) -> tuple[NDArray[Any], NDArray[np.float32] | None, NDArray[Any] | None]:
    """The refined labels, probabilities if they are wanted, and the labels that these belong to if not 0 to K - 1."""
    values, labels, classes = coarse.values, coarse.classes, wish.classes if coarse.kind == "labels" else None
    if coarse.kind == "labels" and PROBABILITIES in wish.extras:
        to_coarse(values, False, classes, torch.device("cpu"))
        labels, places = np.unique(values, return_inverse=True)  # maps of the labels that occur, not of all up to 255
        values, classes = places.reshape(values.shape), None
    # An object that is nowhere more likely than not would be wiped out of a soft mask.
    restrict = wish.restrict and coarse.kind != "alpha"
    if PROBABILITIES in wish.extras or as_probabilities:
        probabilities = refiner.probabilities(image, values, restrict=restrict, rough=wish.rough, classes=classes)
        after = probabilities.argmax(axis=0)
    else:
        probabilities = None
        after = refiner(image, values, restrict=restrict, rough=wish.rough, classes=classes)
    return after if labels is None else labels[after], probabilities, labels


def _lost(coarse: CoarseFile, before: NDArray[Any], after: NDArray[Any], wish: Wish) -> str:
    """What is said of classes that are nowhere any more."""
    gone = np.setdiff1d(before, after)
    if not gone.size:
        return ""
    codes = gone if coarse.codes is None else coarse.codes[gone]
    advice = "" if wish.rough is None else "; --rough is too much for what is smaller"
    return f"nothing is left of {', '.join(str(code) for code in codes[:8].tolist())}{advice}"


def _colours(coarse: CoarseFile, wish: Wish) -> NDArray[np.uint8]:
    """What classes look like in pictures: as in the file, as in the palette file, or as in PASCAL VOC."""
    if coarse.kind == "colours" and coarse.codes is not None:
        return coarse.codes
    if coarse.palette:
        return np.frombuffer(coarse.palette, np.uint8).reshape(-1, 3)
    if wish.palette is None or coarse.kind not in ("probabilities", "labels"):
        return class_colours()
    if coarse.largest >= len(wish.palette.colours):
        raise InputError(
            f"its classes go up to {coarse.largest}; the palette has {len(wish.palette.colours)} lines: add the others"
        )
    return wish.palette.colours


def mend_all(jobs: Sequence[Job], wish: Wish, workers: int) -> Generator[Outcome, None, None]:
    """Mend all files, and say of each what became of it; one that fails does not stop the others."""
    if workers == 1:
        refiner = Refiner.load(wish.weights, device=wish.device)
        for job in jobs:
            yield _attempt(refiner, job, wish)
        return
    Refiner.load(wish.weights)  # what is wrong with them is said once, not as a worker's death for every file
    # Not forked: neither threads nor a GPU survive that.
    context = multiprocessing.get_context("spawn")
    strangers = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, context, initializer=_start, initargs=(wish, workers))
    try:
        futures = {pool.submit(_in_worker, job): job for job in jobs}
        for future in as_completed(futures):
            yield _result(future, futures[future])
    except BaseException:  # SIGTERM comes to this process alone, and the workers would go on for as long as they live
        for worker in set(multiprocessing.active_children()) - strangers:
            worker.terminate()
        raise
    finally:  # after Ctrl-C no more are handed to the workers; `with pool` would have all of them done
        pool.shutdown(cancel_futures=True)


def _result(future: "Future[Outcome]", job: Job) -> Outcome:
    try:
        return future.result()
    except BrokenProcessPool:
        return Outcome(
            job, problem=f"{job.coarse}: its worker was killed, perhaps for want of memory; try fewer --workers"
        )


def _attempt(refiner: Refiner, job: Job, wish: Wish) -> Outcome:
    try:
        return mend(refiner, job, wish)
    except (InputError, OSError) as error:
        message = str(error)
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
    named = any(str(path) in message for path in (job.image, job.coarse))
    return Outcome(job, problem=message if named else f"{job.coarse}: {message}")


_worker: tuple[Refiner, Wish] | None = None


def _start(wish: Wish, workers: int) -> None:
    global _worker
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    _worker = Refiner.load(wish.weights, device=wish.device), wish
    signal.signal(signal.SIGTERM, _end)


def _end(*_: Any) -> NoReturn:
    raise SystemExit(ENDED)  # so that files which are half-written vanish


def _in_worker(job: Job) -> Outcome:
    assert _worker is not None
    try:
        return _attempt(_worker[0], job, _worker[1])
    except SystemExit:
        os._exit(ENDED)  # the pool would take it for a result and hand over the next file
