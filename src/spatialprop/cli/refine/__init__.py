"""`spatialprop refine`: refine the mask of one image, or the masks of folders."""

import argparse
import math
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from spatialprop.cli.refine.pipes import Paths, piped
from spatialprop.cli.refine.reports import Report, Reporter
from spatialprop.cli.refine.shards import Shard, read_shard
from spatialprop.cli.stopping import ENDED, Terminated, sigterm_raises

if TYPE_CHECKING:
    from spatialprop.cli.refine.work import Outcome

EXAMPLES = """examples:
  spatialprop refine photo.jpg mask.png                    writes mask_refined.png
  spatialprop refine photo.jpg mask.png --rough 16         the mask was drawn by hand
  spatialprop refine photos/ masks/ -o refined/ --workers 4
  spatialprop refine 'photos/*.jpg' 'masks/*_mask.png' -o refined/ --sheet
  spatialprop refine photo.jpg - -o - < mask.png > refined.png
  spatialprop refine JPEGImages/ SegmentationObject/ --unknown 255 -o refined/     PASCAL VOC's objects
  spatialprop refine --coco instances.json photos/ -o refined.json
  spatialprop refine --yolo photos/ labels/ -o refined/
  spatialprop refine --raster city.tif roofs.tif -o refined.tif
  spatialprop refine photos/ masks/ -o refined/ --shard $SLURM_ARRAY_TASK_ID/64 --json > $SLURM_ARRAY_TASK_ID.jsonl

Exit code: 0 all is well, 1 some files could not be refined, 2 the command line cannot be followed, 130 it was stopped,
143 by SIGTERM."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog, parser.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    parser.add_argument("image", help="an image, a folder of images, or a quoted pattern: 'photos/*.jpg'; - for stdin")
    parser.add_argument(
        "coarse",
        nargs="?",
        help="its coarse map, a folder of them (same names), or a pattern: 'masks/*_mask.png'; - for stdin",
    )
    parser.add_argument("-o", "--output", help="file or folder; by default beside the coarse maps; - for stdout")
    several = parser.add_mutually_exclusive_group()
    several.add_argument(
        "--coco", type=Path, metavar="FILE", help="refine these COCO annotations of the images in a folder"
    )
    several.add_argument("--yolo", action="store_true", help="the coarse maps are a folder of YOLO's text files")
    several.add_argument("--raster", action="store_true", help="both are GeoTIFF, of any size")
    parser.add_argument("--probabilities", action="store_true", help="write <name>_probabilities.npz too")
    parser.add_argument("--overlay", action="store_true", help="write <name>_overlay.png too, the mask over the image")
    parser.add_argument(
        "--sheet", action="store_true", help="write <name>_sheet.png too: image, before, after, changes"
    )
    parser.add_argument(
        "--skip-existing", action="store_true", help="leave out files whose result exists, whichever options made it"
    )
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes that share the files (default: %(default)s)"
    )
    parser.add_argument("--shard", metavar="K/N", help="take part K of N of the files; every file is in exactly one")
    parser.add_argument("--dry-run", action="store_true", help="say what would be refined, and write nothing")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each file")
    parser.add_argument(
        "--no-restrict",
        action="store_true",
        help="allow classes that are nowhere the most likely one in the coarse map",
    )
    parser.add_argument("--classes", type=int, metavar="K", help="refuse label maps with labels from K on")
    parser.add_argument(
        "--rough",
        type=_rough,
        default="auto",
        metavar="PIXELS",
        help="by about how much the borders of labels and masks may be wrong; by default the network sees that for "
        "itself, and leaves them as they are if it cannot; 0 leaves them always",
    )
    parser.add_argument(
        "--unknown",
        type=int,
        metavar="LABEL",
        help="of label maps, the label of pixels that have none: 255 of PASCAL VOC",
    )
    add_reading(parser)


def _rough(text: str) -> float | str:
    if text == "auto":
        return text
    pixels = float(text)
    if pixels != 0 and not 1 <= pixels < math.inf:
        raise argparse.ArgumentTypeError(f"must be auto, 0, or a number of pixels from 1 on; got {text}")
    return pixels


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that reads coarse maps."""
    parser.add_argument(
        "--kind",
        choices=("auto", "labels", "mask", "alpha", "colours"),
        default="auto",
        help="what the coarse maps hold (default: %(default)s, by what is in them)",
    )
    parser.add_argument("--palette", type=Path, help="text file of the classes' colours, 'red green blue name' a line")
    parser.add_argument(
        "--most-pixels", type=int, default=1 << 28, metavar="N", help="refuse larger images (default: %(default)s)"
    )
    parser.add_argument(
        "--weights", default="light", help="a name, a .safetensors file, or hf:owner/name (default: %(default)s)"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ... (default: %(default)s)")


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
    if options.unknown is not None and (options.rough != "auto" or not 0 <= options.unknown <= 65535):
        raise ValueError("--unknown must be a label from 0 to 65535, and says itself what is rough: leave --rough out")
    shard, device = read_shard(options.shard), usable(options.device)
    try:
        with sigterm_raises(), piped(options) as paths:
            if options.coco is not None or options.yolo or options.raster:
                from spatialprop.cli.refine.formats import run as run_formats

                return run_formats(options, shard, Reporter(options.json))
            if paths.coarse is None:
                raise ValueError("give an image and its coarse map; annotations of a data set are named by --coco")
            return _run(options, paths, shard, device)
    except KeyboardInterrupt as stop:
        print("\nstopped; what is written is whole", file=sys.stderr)
        return ENDED if isinstance(stop, Terminated) else 130


def _run(options: argparse.Namespace, paths: "Paths", shard: Shard, device: str) -> int:
    """Refine masks that have files of their own."""
    from spatialprop.cli.refine.jobs import OVERLAY, PROBABILITIES, SHEET, find_jobs, refuse_to_replace
    from spatialprop.cli.refine.work import Settings, refine_all
    from spatialprop.maskfiles import CoarseFile, read_palette
    from spatialprop.refiner.weights import find

    assert paths.coarse is not None
    found, missing = find_jobs(paths.image, paths.coarse, paths.output)
    jobs, problems = shard.of(found), dict(shard.of(list(missing.items())))
    asked = {PROBABILITIES: options.probabilities, OVERLAY: options.overlay, SHEET: options.sheet}
    settings = Settings(
        weights=str(find(options.weights)),
        device=device,
        kind=options.kind,
        palette=None if options.palette is None else read_palette(options.palette),
        classes=options.classes,
        restrict=not options.no_restrict,
        rough=options.rough,
        unknown=options.unknown,
        most_pixels=options.most_pixels,
        extras=tuple(ending for ending, wanted in asked.items() if wanted),
    )
    refuse_to_replace(jobs, settings.extras, [*missing, *([options.palette] if options.palette else [])])
    left = [job for job in jobs if not (options.skip_existing and job.exists(settings.extras))]
    several = len(jobs) + len(problems) > 1 or not left
    reporter = Reporter(options.json, several, sys.stderr if paths.piped else sys.stdout)
    for path, problem in problems.items():
        reporter.add(Report(str(path), problem=f"{path}: {problem}"))
    if options.dry_run:
        for job in left:
            reporter.would(str(job.coarse), str(job.beside(job.suffix or CoarseFile.suffix(job.coarse))))
        return reporter.end(present=len(jobs) - len(left))
    outcomes = refine_all(left, settings, min(options.workers, max(1, len(left))))
    try:
        with closing(outcomes):
            for outcome in _progress(outcomes, len(left)) if several and left and not options.json else outcomes:
                reporter.add(
                    Report(
                        str(outcome.job.coarse),
                        Path("-") if paths.piped else outcome.result,
                        outcome.summary,
                        outcome.changed,
                        outcome.milliseconds,
                        outcome.problem,
                        outcome.lost,
                    )
                )
    except KeyboardInterrupt as stop:
        refined = reporter.refined
        print(f"\nstopped after {refined} of {len(left)} or a few more; go on with --skip-existing", file=sys.stderr)
        return ENDED if isinstance(stop, Terminated) else 130
    return reporter.end(present=len(jobs) - len(left))


def _progress(items: "Iterator[Outcome]", count: int) -> "Iterable[Outcome]":
    """Show a progress bar, in a terminal."""
    from tqdm import tqdm

    bar: Iterable[Outcome] = tqdm(items, total=count, unit="image", disable=None, dynamic_ncols=True)
    return bar
