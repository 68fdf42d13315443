"""Does the refiner improve masks more than what people use today? A table for any data set with coarse maps.

    python benchmarks/refinement.py ROOT [ROOT ...]            some minutes a set on two cores, most of them DenseCRF's
    python benchmarks/refinement.py ROOT --weights mine.safetensors --images 20 --tune-images 10
    python benchmarks/refinement.py ROOT --tuned results/benchmarks/densecrf_tuning.json       no search

ROOT is a folder in the layout of data=folder: ROOT/{train,val}/{images,labels,coarse} and ROOT/dataset.json. All
methods are given the coarse probabilities, and then their labels, enlarged by nearest neighbour: masks as people have.
DenseCRF appears with its usual settings, and with those that tune_densecrf.py finds on the train split, or has found;
all that it tries is printed, and the identity is among it: leave the coarse map as it is. Each of the
refiner's weights is the same for all sets.
Writes refinement.json and refinement.md to results, or to --output.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from measure import alone, machine, markdown_table, peak_memory
from numpy.typing import NDArray
from tune_densecrf import INPUTS, Settings, crf, given, in_words, shares, spread_out, tune, with_all_coarse

from spatialprop import Refiner
from spatialprop.baselines import GuidedFilter
from spatialprop.data import VOID, ImageFolder
from spatialprop.files import write_file, write_json
from spatialprop.metrics import MethodScores

HERE = Path(__file__).parent
Method = Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[Any]]


def of_refiner(weights: str) -> str:
    """How the table names a refiner."""
    return f"refiner, {Path(weights).stem}"


def method(name: str, weights: Sequence[str], tuned: Settings, classes: int) -> Method:
    """A method by its name in the table."""
    if name == "coarse":
        return lambda image, coarse: shares(coarse, image.shape[:2], classes).argmax(axis=0)
    if name == "guided filter":
        guided_filter = GuidedFilter()
        return lambda image, coarse: guided_filter(image, shares(coarse, image.shape[:2], classes))
    refiners = {of_refiner(one): one for one in weights}
    if name in refiners:
        return Refiner.load(refiners[name])
    return lambda image, coarse: crf(image, coarse, classes, tuned if name == "DenseCRF, tuned" else {})


def score(data: ImageFolder, run: Method, chosen: Sequence[int], kind: str) -> dict[str, Any]:
    scores = MethodScores(len(data.labels.classes), ignore_index=VOID, scored_classes=data.labels.scored_classes)
    seconds = []
    first = data[chosen[0]]
    run(first.image, given(first, kind))  # kernels are compiled, pages touched
    for index in chosen:
        example = data[index]
        coarse = given(example, kind)
        start = time.perf_counter()
        found = run(example.image, coarse)
        seconds.append(time.perf_counter() - start)
        scores.update(torch.from_numpy(found.astype(np.int64))[None], torch.from_numpy(example.label)[None].long())
    return {**scores.compute(), "milliseconds": 1000 * median(seconds)}


def memory_of(request: dict[str, Any]) -> None:
    """Peak memory of one method on the largest of the images asked for, in this process alone."""
    data = ImageFolder(request["root"], [request["split"]])
    run = method(request["method"], request["weights"], request["tuned"], len(data.labels.classes))
    example = data[request["index"]]
    coarse = given(example, request["input"])
    run(example.image[:32, :32], coarse[..., :32, :32] if request["input"] == "labels" else coarse)
    grown = peak_memory(lambda: lambda: run(example.image, coarse), torch.device("cpu"))
    print(json.dumps({"peak_bytes": grown}))


def measure(root: Path, kind: str, options: argparse.Namespace) -> dict[str, Any]:
    """All methods on one set, given one kind of input."""
    data = with_all_coarse(root, options.split)
    if options.tuned is None:
        train = with_all_coarse(root, "train")
        print(f"{root.name}, {kind}: tuning on {min(len(train), options.tune_images)} images of train", flush=True)
        tuned, tried = tune(train, options.tune_images, kind=kind)
    else:
        tuned, tried = found_before(options.tuned, data.labels.name, kind)
    chosen = spread_out(len(data), options.images)
    largest = max(chosen[:50], key=lambda index: data[index].image.size)
    results = {}
    for name in ("coarse", "guided filter", "DenseCRF, usual", "DenseCRF, tuned", *map(of_refiner, options.weights)):
        run = method(name, options.weights, tuned, len(data.labels.classes))
        results[name] = score(data, run, chosen, kind)
        request = {
            "root": str(root), "split": options.split, "method": name, "weights": options.weights,
            "tuned": tuned, "index": largest, "input": kind,
        }  # fmt: skip
        answer, failure = alone(Path(__file__), request, 600)
        if failure:
            raise SystemExit(f"memory of {name}: {failure}")
        results[name] |= answer
        print(f"  {name}: mIoU {results[name]['mIoU']:.4f}, boundary {results[name]['boundary_IoU']:.4f}", flush=True)
    return {
        "name": data.labels.name, "input": kind, "images": len(chosen), "tuned": tuned, "tried": tried,
        "results": results,
    }  # fmt: skip


def found_before(path: Path, name: str, kind: str) -> tuple[Settings, list[dict[str, Any]]]:
    """What tune_densecrf.py wrote of a set."""
    entries = {(entry["name"], entry["input"]): entry for entry in json.loads(path.read_text())["sets"]}
    if (name, kind) not in entries:
        known = ", ".join(f"{of} given {what}" for of, what in entries)
        raise SystemExit(
            f"{path} is about {known}; got {name} given {kind}: run tune_densecrf.py on it, or search here"
        )
    return entries[name, kind]["settings"], entries[name, kind]["trials"]


def gains(measured: Sequence[dict[str, Any]]) -> str:
    """What the methods gain over the coarse map, in points, on all sets and on average."""
    names = [name for name in measured[0]["results"] if name != "coarse"]
    rows: list[list[str]] = []
    for kind in INPUTS:
        sets = [entry for entry in measured if entry["input"] == kind]
        both = [[gain(entry, name, score) for entry in sets] for name in names for score in ("mIoU", "boundary_IoU")]
        for place, entry in enumerate(sets):
            rows.append([f"{entry['name']}, {kind}", *_pairs([one[place] for one in both])])
        if sets:
            rows.append([f"**mean, {kind}**", *_pairs([sum(one) / len(one) for one in both])])
    return "Gains over the coarse map in mIoU / Boundary IoU, in points.\n\n" + markdown_table(["", *names], rows)


def gain(entry: dict[str, Any], name: str, score: str) -> float:
    """The points that a method gains."""
    return 100 * (entry["results"][name][score] - entry["results"]["coarse"][score])


def _pairs(values: Sequence[float]) -> list[str]:
    return [f"{first:+.2f} / {second:+.2f}" for first, second in zip(values[::2], values[1::2], strict=True)]


def report(measured: Sequence[dict[str, Any]], described: dict[str, Any]) -> str:
    lines = [
        "# Refining coarse maps",
        gains(measured),
        f"Each refiner has the same weights for every set. {described['threads']} threads of a "
        f"{described['processor']}; "
        "milliseconds are medians an image, with enlarging the coarse map; memory is what a method takes beyond image "
        "and coarse map, in MiB.",
    ]
    header = ["", "mIoU", "pixel accuracy", "Boundary IoU", "trimap 3 px", "trimap 10 px", "ms", "MiB"]
    for entry in measured:
        rows = []
        for name, scores in entry["results"].items():
            shares = [scores["mIoU"], scores["pixel_accuracy"], scores["boundary_IoU"]]
            shares += [scores["trimap_IoU"][radius] for radius in ("3", "10")]
            memory = scores["peak_bytes"]
            rows.append(
                [
                    name,
                    *("-" if share is None else f"{100 * share:.2f}" for share in shares),
                    f"{scores['milliseconds']:.0f}",
                    "-" if memory is None else f"{memory / 2**20:.0f}",
                ]
            )
        lines += [
            f"## {entry['name']}, {entry['images']} images, given {entry['input']}",
            markdown_table(header, rows),
            f"DenseCRF tuned on train: {in_words(entry['tuned'])}; {len(entry['tried'])} trials, all in the .json.",
        ]
    return "\n\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Does the refiner improve masks more than what people use today?")
    parser.add_argument("roots", nargs="*", type=Path, metavar="ROOT", help="data sets in the layout of data=folder")
    parser.add_argument("--weights", nargs="+", default=["light", "base"], help="names, or .safetensors files")
    parser.add_argument(
        "--input", choices=INPUTS, action="append", help="what is refined; by default one and the other"
    )
    parser.add_argument("--split", default="val", help="what is scored")
    parser.add_argument("--images", type=int, help="score so many, spread over the split, instead of all")
    parser.add_argument("--tuned", type=Path, metavar="JSON", help="take DenseCRF's settings from tune_densecrf.py")
    parser.add_argument("--tune-images", type=int, default=40, help="tune DenseCRF on so many of the train split")
    parser.add_argument("--output", type=Path, default=HERE.parent / "results")
    parser.add_argument("--alone", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        memory_of(options.alone)
        return
    if not options.roots:
        parser.error("give at least one data set")
    described = machine(torch.device("cpu"))
    measured = [measure(root, kind, options) for root in options.roots for kind in options.input or INPUTS]
    text = report(measured, described)
    options.output.mkdir(parents=True, exist_ok=True)
    content = {"machine": described, "weights": [Path(one).name for one in options.weights], "sets": measured}
    write_json(options.output / "refinement.json", content)
    write_file(options.output / "refinement.md", text + "\n")
    print(text)


if __name__ == "__main__":
    main()
