"""Does the refiner improve masks more than what people use today? A table for any data set with coarse maps.

    python benchmarks/refinement.py ROOT [ROOT ...]            some minutes a set on two cores, most of them DenseCRF's
    python benchmarks/refinement.py ROOT --weights mine.safetensors --images 20 --tune-images 10
    python benchmarks/refinement.py ROOT --tuned results/benchmarks/densecrf_tuning.json       no search

ROOT is a folder in the layout of data=folder: ROOT/{train,val}/{images,labels,coarse} and ROOT/dataset.json.
DenseCRF appears with its usual settings, and with those that tune_densecrf.py finds on the train split, or has found;
all that it tries is printed, and the identity is among it: leave the coarse map as it is. The refiner is the same for
all sets.
Writes refinement.json and refinement.md to results/benchmarks, or to --output.
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
from tune_densecrf import Settings, in_words, spread_out, tune, whole, with_all_coarse

from spatialprop import Refiner
from spatialprop.baselines import DenseCRF, GuidedFilter
from spatialprop.data import VOID, ImageFolder
from spatialprop.files import write_file, write_json
from spatialprop.metrics import MethodScores

HERE = Path(__file__).parent
Method = Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[Any]]


def unchanged(image: NDArray[np.uint8], coarse: NDArray[np.uint8]) -> NDArray[Any]:
    return whole(coarse, image.shape[:2]).argmax(axis=0)


def full_size(baseline: Callable[..., NDArray[Any]]) -> Method:
    return lambda image, coarse: baseline(image, whole(coarse, image.shape[:2]))


def method(name: str, weights: str, tuned: Settings) -> Method:
    """A method by its name in the table."""
    return {
        "coarse": lambda: unchanged,
        "guided filter": lambda: full_size(GuidedFilter()),
        "DenseCRF, usual": lambda: full_size(DenseCRF()),
        "DenseCRF, tuned": lambda: full_size(DenseCRF(**tuned)),
        "refiner": lambda: Refiner.load(weights),
    }[name]()


def score(data: ImageFolder, run: Method, chosen: Sequence[int]) -> dict[str, Any]:
    scores = MethodScores(len(data.labels.classes), ignore_index=VOID, scored_classes=data.labels.scored_classes)
    seconds = []
    first = data[chosen[0]]
    run(first.image, first.coarse)  # kernels are compiled, pages touched
    for index in chosen:
        example = data[index]
        start = time.perf_counter()
        found = run(example.image, example.coarse)
        seconds.append(time.perf_counter() - start)
        scores.update(torch.from_numpy(found.astype(np.int64))[None], torch.from_numpy(example.label)[None].long())
    return {**scores.compute(), "milliseconds": 1000 * median(seconds)}


def memory_of(request: dict[str, Any]) -> None:
    """Peak memory of one method on the largest of the images asked for, in this process alone."""
    data = ImageFolder(request["root"], [request["split"]])
    run = method(request["method"], request["weights"], request["tuned"])
    small = np.full((2, 4, 4), 55, np.uint8)
    small[0, :2] = small[1, 2:] = 200
    run(np.zeros((32, 32, 3), np.uint8), small)
    example = data[request["index"]]
    grown = peak_memory(lambda: lambda: run(example.image, example.coarse), torch.device("cpu"))
    print(json.dumps({"peak_bytes": grown}))


def measure(root: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All methods on one set."""
    data = with_all_coarse(root, options.split)
    if options.tuned is None:
        train = with_all_coarse(root, "train")
        print(f"{root.name}: tuning on {min(len(train), options.tune_images)} images of train", flush=True)
        tuned, tried = tune(train, options.tune_images)
    else:
        tuned, tried = found_before(options.tuned, data.labels.name)
    chosen = spread_out(len(data), options.images)
    largest = max(chosen[:50], key=lambda index: data[index].image.size)
    results = {}
    for name in ("coarse", "guided filter", "DenseCRF, usual", "DenseCRF, tuned", "refiner"):
        results[name] = score(data, method(name, options.weights, tuned), chosen)
        request = {
            "root": str(root), "split": options.split, "method": name, "weights": options.weights,
            "tuned": tuned, "index": largest,
        }  # fmt: skip
        answer, failure = alone(Path(__file__), request, 600)
        if failure:
            raise SystemExit(f"memory of {name}: {failure}")
        results[name] |= answer
        print(f"  {name}: mIoU {results[name]['mIoU']:.4f}, boundary {results[name]['boundary_IoU']:.4f}", flush=True)
    return {
        "name": data.labels.name, "images": len(chosen), "tuned": tuned, "tried": tried, "results": results,
    }  # fmt: skip


def found_before(path: Path, name: str) -> tuple[Settings, list[dict[str, Any]]]:
    """What tune_densecrf.py wrote of a set."""
    entries = {entry["name"]: entry for entry in json.loads(path.read_text())["sets"]}
    if name not in entries:
        raise SystemExit(
            f"{path} is about {', '.join(entries)}; got {name}: run tune_densecrf.py on it, or search here"
        )
    return entries[name]["settings"], entries[name]["trials"]


def report(measured: Sequence[dict[str, Any]], described: dict[str, Any], weights: str) -> str:
    lines = [
        "# Refining coarse maps",
        f"Refiner: `{weights}`, the same for every set. {described['threads']} threads of a {described['processor']}; "
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
            f"## {entry['name']}, {entry['images']} images",
            markdown_table(header, rows),
            f"DenseCRF tuned on train: {in_words(entry['tuned'])}. Tried, on how many images, and mIoU: "
            + "; ".join(
                f"{in_words(trial['settings'])}: {trial['images']}, {100 * trial['mIoU']:.2f}"
                for trial in entry["tried"]
            )
            + ".",
        ]
    return "\n\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Does the refiner improve masks more than what people use today?")
    parser.add_argument("roots", nargs="*", type=Path, metavar="ROOT", help="data sets in the layout of data=folder")
    parser.add_argument("--weights", default="light", help="of the refiner: a name, or a .safetensors file")
    parser.add_argument("--split", default="val", help="what is scored")
    parser.add_argument("--images", type=int, help="score so many, spread over the split, instead of all")
    parser.add_argument("--tuned", type=Path, metavar="JSON", help="take DenseCRF's settings from tune_densecrf.py")
    parser.add_argument("--tune-images", type=int, default=40, help="tune DenseCRF on so many of the train split")
    parser.add_argument("--output", type=Path, default=HERE.parent / "results" / "benchmarks")
    parser.add_argument("--alone", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        memory_of(options.alone)
        return
    if not options.roots:
        parser.error("give at least one data set")
    described = machine(torch.device("cpu"))
    measured = [measure(root, options) for root in options.roots]
    weights = Path(options.weights).name
    text = report(measured, described, weights)
    options.output.mkdir(parents=True, exist_ok=True)
    content = {"machine": described, "weights": weights, "sets": measured}
    write_json(options.output / "refinement.json", content)
    write_file(options.output / "refinement.md", text + "\n")
    print(text)


if __name__ == "__main__":
    main()
