"""Which settings of DenseCRF improve a data set's coarse maps most? A search on its train split, whole in print.

    python benchmarks/tune_densecrf.py ROOT [ROOT ...]         about 12 minutes a set on one free core
    python benchmarks/tune_densecrf.py ROOT --images 20 --workers 2
    python benchmarks/tune_densecrf.py ROOT --input labels     given the segmenter's labels, not its probabilities

ROOT is a folder in the layout of data=folder: ROOT/train/{images,labels,coarse} and ROOT/dataset.json. First a coarse
grid on a quarter of the images; then, on all of them, the identity, the best two of the grid and what lies around the
best. The identity, both weights 0, is in the race from the start to the end: leave the coarse map as it is. Where
labels are the input, each pixel's own label is said to be likely by a `certainty` that is searched, too. Writes
densecrf_tuning.json and densecrf_tuning.md to results/benchmarks, or to --output.
"""

import argparse
import itertools
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import markdown_table
from numpy.typing import NDArray
from torch import nn

from spatialprop.baselines import DenseCRF
from spatialprop.data import VOID, Example, ImageFolder, Window, crop_coarse
from spatialprop.files import write_file, write_json
from spatialprop.metrics import SegmentationScores

HERE = Path(__file__).parent
Settings = dict[str, float]

IDENTITY: Settings = {"colour_weight": 0, "smooth_weight": 0}
GRID: list[Settings] = [
    IDENTITY,
    {"colour_weight": 0, "smooth_weight": 3},
    *(
        {"colour_weight": weight, "colour_reach": reach, "colour_deviation": deviation, "smooth_weight": smooth}
        for weight, reach, deviation, smooth in itertools.product((1, 4), (20, 60), (3, 8), (0, 3))
    ),
]
STEPS = {"colour_weight": (0.5, 1.5), "colour_reach": (0.5, 1.5), "colour_deviation": (0.7, 1.5)}
INPUTS = ("probabilities", "labels")
CERTAINTIES = (0.7, 0.5, 0.9)  # of labels; the first is pydensecrf's own


def whole(coarse: NDArray[np.uint8], size: Sequence[int]) -> NDArray[np.float32]:
    """Probabilities at the image's size, which the baselines ask for. (K, H, W)"""
    height, width = size
    return crop_coarse(coarse, (height, width), Window(0, 0, height, width), (height, width))


def given(example: Example, kind: str) -> NDArray[np.uint8]:
    """What a method is given: the coarse map (K, h, w), or its labels, enlarged by nearest neighbour (H, W)."""
    assert example.coarse is not None
    if kind == "probabilities":
        return example.coarse
    labels = example.coarse.argmax(axis=0).astype(np.uint8)
    rows, columns = (
        ((np.arange(long) + 0.5) * short / long).astype(int)
        for short, long in zip(labels.shape, example.image.shape[:2], strict=True)
    )
    return labels[rows][:, columns]


def shares(coarse: NDArray[np.uint8], size: Sequence[int], classes: int, certainty: float = 1) -> NDArray[np.float32]:
    """Probabilities at the image's size, of either input. (K, H, W)"""
    if coarse.ndim == 3:
        return whole(coarse, size)
    found = np.full((classes, *size), (1 - certainty) / max(1, classes - 1), np.float32)
    np.put_along_axis(found, coarse[None].astype(np.int64), certainty, axis=0)
    return found


def crf(image: NDArray[np.uint8], coarse: NDArray[np.uint8], classes: int, settings: Settings) -> NDArray[Any]:
    """The labels of DenseCRF with some settings, given either input."""
    own = {key: value for key, value in settings.items() if key != "certainty"}
    certainty = settings.get("certainty", CERTAINTIES[0])
    return DenseCRF(**own)(image, shares(coarse, image.shape[:2], classes, certainty))


def spread_out(total: int, wanted: int | None) -> list[int]:
    """Some of so many indices, evenly; all if `wanted` is None."""
    count = total if wanted is None else min(total, wanted)
    return [total * place // count for place in range(count)]


def in_words(settings: Settings) -> str:
    """Settings as a config has them."""
    return "identity" if settings == IDENTITY else ", ".join(f"{key}: {value:g}" for key, value in settings.items())


def around(settings: Settings, kind: str) -> list[Settings]:
    """Settings that differ from these in one value: each some steps up and down, and a smoothness of 1."""
    near = [
        settings | {key: round(settings[key] * step, 2)}
        for key, steps in STEPS.items()
        for step in steps
        if settings.get(key)
    ]
    less_or_more = [settings | {"certainty": value} for value in CERTAINTIES[1:]] if kind == "labels" else []
    return [*near, settings | {"smooth_weight": 1}, *less_or_more]


def tune(
    data: ImageFolder, images: int = 40, workers: int = 1, kind: str = INPUTS[0]
) -> tuple[Settings, list[dict[str, Any]]]:
    """The settings with the highest mIoU on so many of a set's images, and what each that was tried reached."""
    chosen = spread_out(len(data), images)
    first = _try(data, chosen[:: 4 if len(chosen) >= 8 else 1], GRID, workers, kind)
    ranked = [trial["settings"] for trial in sorted(first, key=lambda trial: -trial["mIoU"])]
    others = [settings for settings in ranked if settings != IDENTITY]
    finalists = [IDENTITY, *others[:2], *around(others[0], kind)]
    distinct = [one for place, one in enumerate(finalists) if one not in finalists[:place]]
    second = _try(data, chosen, distinct, workers, kind)
    best = max(second, key=lambda trial: trial["mIoU"])  # of equals the first, and the identity comes first
    return best["settings"], first + second


def _try(
    data: ImageFolder, chosen: Sequence[int], tried: Sequence[Settings], workers: int, kind: str
) -> list[dict[str, Any]]:
    scores = nn.ModuleList(
        SegmentationScores(len(data.labels.classes), ignore_index=VOID, scored_classes=data.labels.scored_classes)
        for _ in tried
    )
    for label, found in _labels(data, chosen, tried, workers, kind):
        for score, labels in zip(scores, found, strict=True):
            score.update(torch.from_numpy(labels)[None].long(), torch.from_numpy(label)[None].long())
    trials = []
    for settings, score in zip(tried, scores, strict=True):
        mean_iou = score.compute()["mIoU"].item()  # type: ignore[operator]
        trials.append({"settings": settings, "images": len(chosen), "mIoU": mean_iou})
        print(f"  {mean_iou:.4f} on {len(chosen)} images: {in_words(settings)}", flush=True)
    return trials


def _labels(
    data: ImageFolder, chosen: Sequence[int], tried: Sequence[Settings], workers: int, kind: str
) -> Iterable[tuple[NDArray[np.uint8], list[NDArray[np.uint8]]]]:
    work = partial(_labels_of, data, tried, kind)
    if workers == 1:
        yield from map(work, chosen)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(work, chosen)


def _labels_of(
    data: ImageFolder, tried: Sequence[Settings], kind: str, index: int
) -> tuple[NDArray[np.uint8], list[NDArray[np.uint8]]]:
    """An image's truth, and what each of the settings makes of it."""
    torch.set_num_threads(1)
    example = data[index]
    coarse, classes = given(example, kind), len(data.labels.classes)
    return example.label, [crf(example.image, coarse, classes, one).astype(np.uint8) for one in tried]


def report(found: Sequence[dict[str, Any]]) -> str:
    lines = ["# DenseCRF, tuned on train", "mIoU over the scored classes, in percent."]
    for entry in found:
        rows = [
            [in_words(trial["settings"]), str(trial["images"]), f"{100 * trial['mIoU']:.2f}"]
            for trial in entry["trials"]
        ]
        last = [trial for trial in entry["trials"] if trial["images"] == entry["images"]]
        before, after = (
            next(trial["mIoU"] for trial in reversed(last) if trial["settings"] == settings)
            for settings in (IDENTITY, entry["settings"])
        )
        lines += [
            f"## {entry['name']}, given {entry['input']}",
            f"Best: {in_words(entry['settings'])}; {100 * after:.2f}, coarse {100 * before:.2f}.",
            markdown_table(["settings", "images", "mIoU"], rows),
        ]
    return "\n\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Which settings of DenseCRF improve a data set's coarse maps most?")
    parser.add_argument("roots", nargs="+", type=Path, metavar="ROOT", help="data sets in the layout of data=folder")
    parser.add_argument("--images", type=int, default=40, help="so many of the train split, spread over it")
    parser.add_argument(
        "--input", choices=INPUTS, action="append", help="what it is given; by default one and the other"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes that share the images")
    parser.add_argument("--output", type=Path, default=HERE.parent / "results" / "benchmarks")
    options = parser.parse_args()
    found = []
    for root, kind in itertools.product(options.roots, options.input or INPUTS):
        data = with_all_coarse(root, "train")
        images = min(len(data), options.images)
        print(f"{root.name}: {images} images of train, given {kind}", flush=True)
        best, trials = tune(data, images, options.workers, kind)
        found.append({"name": data.labels.name, "input": kind, "images": images, "settings": best, "trials": trials})
        options.output.mkdir(parents=True, exist_ok=True)
        write_json(options.output / "densecrf_tuning.json", {"sets": found})
        write_file(options.output / "densecrf_tuning.md", report(found) + "\n")
    print(report(found))


def with_all_coarse(root: Path, split: str) -> ImageFolder:
    """A split whose images all have coarse maps."""
    data = ImageFolder(root, [split])
    if data.without_coarse:
        raise SystemExit(f"{root}/{split} lacks coarse maps for {len(data.without_coarse)} images; put them there")
    return data


if __name__ == "__main__":
    main()
