"""`spatialprop refine`: refine the mask of one image, or the masks of folders."""

import argparse
import math
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from spatialprop.cli.stopping import ENDED, Terminated, sigterm_raises

if TYPE_CHECKING:
    from spatialprop.cli.refine.work import Outcome

_Item = TypeVar("_Item")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Exit code: 0 all is well, 1 some files could not be refined, 2 the command line cannot be followed, "
        "130 it was stopped, 143 by SIGTERM."
    )
    parser.add_argument("image", help="an image, a folder of images, or a quoted pattern: 'photos/*.jpg'")
    parser.add_argument(
        "coarse", help="its coarse map, a folder of them (same names), or a pattern: 'masks/*_mask.png'"
    )
    parser.add_argument("-o", "--output", help="file or folder; by default beside the coarse maps")
    parser.add_argument("--probabilities", action="store_true", help="write <name>_probabilities.npz too")
    parser.add_argument("--overlay", action="store_true", help="write <name>_overlay.png too, the mask over the image")
    parser.add_argument(
        "--sheet", action="store_true", help="write <name>_sheet.png too: image, before, after, changes"
    )
    parser.add_argument(
        "--skip-existing", action="store_true", help="leave out files whose result exists, whichever options made it"
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes that share the files")
    parser.add_argument(
        "--no-restrict",
        action="store_true",
        help="allow classes that are nowhere the most likely one in the coarse map",
    )
    parser.add_argument("--classes", type=int, metavar="K", help="refuse label maps with labels from K on")
    parser.add_argument(
        "--rough",
        type=float,
        metavar="PIXELS",
        help="by about how much the borders of labels and masks may be wrong; by default they are trusted",
    )
    add_reading(parser)


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that reads coarse maps."""
    parser.add_argument(
        "--kind",
        choices=("auto", "labels", "mask", "alpha", "colours"),
        default="auto",
        help="what the coarse maps hold",
    )
    parser.add_argument("--palette", type=Path, help="text file of the classes' colours, 'red green blue name' a line")
    parser.add_argument("--most-pixels", type=int, default=1 << 28, metavar="N", help="refuse larger images")
    parser.add_argument("--weights", default="light", help="a name, or a .safetensors file")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ...")


def check_at_least_one(options: argparse.Namespace, *names: str) -> None:
    """Refuse options, where they are given, that are below one."""
    for name in names:
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1; got {value}")


def usable(device: str) -> str:
    """Return the device if it can be used."""
    import torch

    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # what torch raises depends on how it was built
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"--device {device} cannot be used here: {reason}; leave it out for the CPU") from None
    return device


def run(options: argparse.Namespace) -> int:
    check_at_least_one(options, "workers", "classes", "most_pixels")
    if options.rough is not None and not 1 <= options.rough < math.inf:
        raise ValueError(f"--rough must be a number of pixels, at least 1; got {options.rough:g}")
    from spatialprop.cli.refine.jobs import OVERLAY, PROBABILITIES, SHEET, find_jobs, refuse_to_replace
    from spatialprop.cli.refine.work import Settings, refine_all
    from spatialprop.maskfiles import read_palette
    from spatialprop.refiner.weights import find

    jobs, problems = find_jobs(options.image, options.coarse, options.output)
    asked = {PROBABILITIES: options.probabilities, OVERLAY: options.overlay, SHEET: options.sheet}
    settings = Settings(
        weights=str(find(options.weights)),
        device=usable(options.device),
        kind=options.kind,
        palette=None if options.palette is None else read_palette(options.palette),
        classes=options.classes,
        restrict=not options.no_restrict,
        rough=options.rough,
        most_pixels=options.most_pixels,
        extras=tuple(ending for ending, wanted in asked.items() if wanted),
    )
    refuse_to_replace(jobs, settings.extras, [*problems, *([options.palette] if options.palette else [])])
    left = [job for job in jobs if not (options.skip_existing and job.exists(settings.extras))]
    for path, problem in problems.items():
        print(f"{path}: {problem}", file=sys.stderr)
    several = len(jobs) + len(problems) > 1
    outcomes = refine_all(left, settings, min(options.workers, max(1, len(left))))
    failed, refined = len(problems), 0
    try:
        with sigterm_raises(), closing(outcomes):
            for outcome in _progress(outcomes, len(left)) if several and left else outcomes:
                failed, refined = failed + bool(outcome.problem), refined + (not outcome.problem)
                _report(outcome, several)
    except KeyboardInterrupt as stop:
        print(f"\nstopped after {refined} of {len(left)} or a few more; go on with --skip-existing", file=sys.stderr)
        return ENDED if isinstance(stop, Terminated) else 130
    if several or not left:
        print(f"{refined} refined, {len(jobs) - len(left)} there already, {failed} failed")
    return 1 if failed else 0


def _report(outcome: "Outcome", several: bool) -> None:
    """Print what became of a file: of several only what the user should look at."""
    if outcome.problem:
        _print_above_bar(outcome.problem)
    elif not several:
        print(f"{outcome.result}: {outcome.summary}")
    elif outcome.lost:
        _print_above_bar(f"{outcome.result}: {outcome.lost}")


def _progress(items: "Iterator[Outcome]", count: int) -> "Iterable[Outcome]":
    """Show a progress bar, in a terminal."""
    from tqdm import tqdm

    bar: Iterable[Outcome] = tqdm(items, total=count, unit="image", disable=None, dynamic_ncols=True)
    return bar


def _print_above_bar(line: str) -> None:
    """Print to stderr, above the progress bar if there is one."""
    if "tqdm" in sys.modules:
        from tqdm import tqdm

        tqdm.write(line, file=sys.stderr)
    else:
        print(line, file=sys.stderr)
