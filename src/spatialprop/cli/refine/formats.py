"""`spatialprop refine` on annotations of a data set, and on rasters larger than memory."""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatialprop.cli.refine.reports import Report, Reporter
from spatialprop.cli.refine.shards import Shard
from spatialprop.errors import InputError
from spatialprop.files import write_file
from spatialprop.formats import RefineMask, read_coco, refine_coco, refine_raster, refine_yolo
from spatialprop.maskfiles import IMAGE_SUFFIXES
from spatialprop.refiner import Refiner

_NOT_FOR_THESE = ("probabilities", "overlay", "sheet", "palette", "no_restrict")


def run(options: argparse.Namespace, shard: Shard, reporter: Reporter) -> int:
    """Refine what --coco, --yolo or --raster names."""
    for name in _NOT_FOR_THESE:
        if getattr(options, name):
            raise ValueError(f"--{name.replace('_', '-')} is for masks in files of their own; leave it out here")
    if options.unknown is not None:
        raise ValueError("--unknown is for label maps in files of their own; a raster's missing data stays as it is")
    if options.workers > 1:
        raise ValueError("--workers is for masks in files of their own; share this work out by --shard 1/2, 2/2, ...")
    if options.output is None:
        raise ValueError("say by -o where the result goes")
    if options.coco is not None:
        return _coco(options, shard, reporter)
    if options.coarse is None:
        raise ValueError("give the images and the masks")
    return _yolo(options, shard, reporter) if options.yolo else _raster(options, shard, reporter)


def _coco(options: argparse.Namespace, shard: Shard, reporter: Reporter) -> int:
    folder, output = Path(options.image), Path(options.output)
    if not folder.is_dir() or options.coarse is not None:
        raise ValueError("--coco takes the folder of the images and nothing else: --coco annotations.json images/")
    if output.suffix.lower() != ".json" or output.resolve() == options.coco.resolve():
        raise ValueError(f"-o must be another .json file; got {output}")
    content = read_coco(options.coco)
    # A shard's file holds its own images and annotations only, so that all shards' files together hold each once.
    content["images"] = shard.of(content["images"])
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] in kept]
    if options.dry_run:
        counts = dict.fromkeys(kept, 0)
        for one in content["annotations"]:
            counts[one["image_id"]] += not one.get("iscrowd")
        for image in content["images"]:
            problem = "" if (folder / image["file_name"]).is_file() else f"{folder / image['file_name']} does not exist"
            reporter.would(image["file_name"], f"{counts[image['id']]} objects", problem)
        return reporter.end()
    start = time.perf_counter()
    for outcome in refine_coco(content, folder, _refine(options)):
        said = f"{outcome.refined} objects refined, {outcome.kept} as they were"
        reporter.add(_report(outcome.name, None, said, outcome, start, outcome.problem))
        start = time.perf_counter()
    write_file(output, json.dumps(content))
    return reporter.end(f"{output} holds {len(content['annotations'])} annotations")


def _yolo(options: argparse.Namespace, shard: Shard, reporter: Reporter) -> int:
    images, labels, output = Path(options.image), Path(options.coarse), Path(options.output)
    if not images.is_dir() or not labels.is_dir():
        raise ValueError("--yolo takes two folders, of images and of text files: --yolo images/ labels/ -o refined/")
    if output.resolve() == labels.resolve():
        raise ValueError("the results would replace the labels; choose another folder by -o")
    pictures = {path.stem: path for path in sorted(images.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES}
    texts = shard.of(sorted(labels.glob("*.txt")))
    if not texts and not shard.number:
        raise InputError(f"{labels} holds no .txt files")
    refine = None if options.dry_run else _refine(options)
    for text in texts:
        start, place = time.perf_counter(), output / text.name
        if options.skip_existing and place.is_file():
            continue
        if text.stem not in pictures:
            reporter.add(Report(str(text), problem=f"{text}: {images} holds no image of that name"))
        elif refine is None:
            reporter.would(str(text), str(place))
        else:
            try:
                outcome = refine_yolo(pictures[text.stem], text, place, refine)
            except (InputError, OSError) as error:
                reporter.add(Report(str(text), problem=str(error)))
                continue
            said = f"{outcome.refined} objects refined, {outcome.kept} as they were"
            reporter.add(_report(str(text), place, said, outcome, start))
    return reporter.end()


def _raster(options: argparse.Namespace, shard: Shard, reporter: Reporter) -> int:
    if shard.number:
        raise ValueError("--shard is for many files; got one raster")
    image, mask, output = Path(options.image), Path(options.coarse), Path(options.output)
    if options.dry_run:
        reporter.would(str(mask), str(output))
        return reporter.end()
    start = time.perf_counter()
    windows = refine_raster(image, mask, output, _refine(options))
    *_, outcome = windows if options.json else _with_bar(windows)  # a raster has at least one window
    said = f"{outcome.refined} of {outcome.windows} windows refined"
    reporter.add(_report(str(mask), output, said, outcome, start))
    return reporter.end()


def _with_bar(windows: Iterator[Any]) -> Iterator[Any]:
    from tqdm import tqdm

    with tqdm(unit="window", disable=None, dynamic_ncols=True) as bar:
        for outcome in windows:
            bar.total = outcome.windows
            bar.update()
            yield outcome


def _report(name: str, result: Path | None, said: str, outcome: Any, start: float, problem: str = "") -> Report:
    share = outcome.changed / outcome.pixels if outcome.pixels else 0.0
    return Report(name, result, said, share, 1000 * (time.perf_counter() - start), problem)


def _refine(options: argparse.Namespace) -> RefineMask:
    refiner = Refiner.load(options.weights, device=options.device)

    def refine(image: NDArray[np.uint8], labels: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(refiner(image, labels, rough=options.rough))

    return refine
