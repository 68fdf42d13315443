"""How fast is the refiner, where does the time go, and how much memory does it take?

    python benchmarks/refiner.py               about 3 minutes on two cores
    python benchmarks/refiner.py --quick       seconds, on small images: does the benchmark itself work?
    python benchmarks/refiner.py --weights mine.safetensors

Of the first weights given it measures every step, of others the whole. Writes refiner.json and refiner.md to
results/benchmarks. README.md beside this says how to read them.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import HostStopwatch, alone, interleave, machine, markdown_table, peak_memory, summary
from numpy.typing import NDArray

from spatialprop import Refiner
from spatialprop.files import write_file, write_json
from spatialprop.nn.inference import folded, to_cells
from spatialprop.ops.choosing import most_likely

HERE = Path(__file__).parent


def scene(side: int, classes: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A photograph in form, and coarse probabilities at an eighth of its size in which every class wins somewhere."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (side, side, 3), np.uint8)
    cells = -(-side // 8)
    winner = rng.integers(0, classes, (-(-cells // 4), -(-cells // 4))).repeat(4, 0).repeat(4, 1)[:cells, :cells]
    coarse = np.full((classes, cells, cells), 0.3 / (classes - 1), np.float32)
    np.put_along_axis(coarse, winner[None], 0.7, axis=0)
    return image, coarse


def steps(refiner: Refiner, side: int, classes: int) -> dict[str, Callable[[int], object]]:
    """The whole, and its parts one by one."""
    image, coarse = scene(side, classes)
    network, size = folded(refiner.network), (side, side)
    pixels = refiner.open(image, coarse).images.to(torch.float32) / 255
    maps = torch.from_numpy(coarse)[None]
    with torch.no_grad():
        cells, labels = to_cells(maps, size, network.stride), most_likely(maps, size)
        known, described = cells.sum(dim=1, keepdim=True), network.describe(pixels, [cells])
        guidance = network.look(pixels, labels, *described)
        refined = network.spread(cells, known, guidance)
    chosen = (refined, size) if guidance.choice is None else (maps, size, refined, guidance.choice)

    def plain(run: Callable[[], object]) -> Callable[[int], object]:
        def timed(_turn: int) -> object:
            with torch.no_grad():
                return run()

        return timed

    pieces = {
        "end to end": lambda: refiner(image, coarse),
        "check the input": lambda: refiner.open(image, coarse),
        "coarse map in cells": lambda: to_cells(maps, size, network.stride),
        "labels of the coarse map": lambda: most_likely(maps, size),
        "hints": lambda: network.describe(pixels, [cells]),
        "guidance": lambda: network.look(pixels, labels, *described),
        "propagation": lambda: network.spread(cells, known, guidance),
        "choose": lambda: most_likely(*chosen),
    }
    return {name: plain(run) for name, run in pieces.items()}


def rivals(side: int, classes: int, others: Sequence[str]) -> dict[str, Callable[[int], object]]:
    """Other weights on the same image, and DenseCRF, if it is installed."""
    image, coarse = scene(side, classes)
    found: dict[str, Callable[[int], object]] = {}
    for weights in others:
        refiner = Refiner.load(weights)
        found[f"end to end, {Path(weights).stem}"] = lambda _turn, refiner=refiner: refiner(image, coarse)
    try:
        from spatialprop.baselines import DenseCRF

        crf = DenseCRF()
    except ImportError:
        return found
    whole = torch.nn.functional.interpolate(torch.from_numpy(coarse)[None], (side, side), mode="bilinear")[0].numpy()
    return found | {"DenseCRF": lambda _turn: crf(image, whole)}


def answer(request: dict[str, object]) -> None:
    """Time and memory of one size, in this process alone."""
    refiner = Refiner.load(str(request["weights"]))
    side, classes = int(request["side"]), int(request["classes"])  # type: ignore[call-overload]
    image, coarse = scene(64, 3)
    refiner(image, coarse)  # compile

    def prepare() -> Callable[[], object]:
        image, coarse = scene(side, classes)
        return lambda: refiner(image, coarse)

    start = time.perf_counter()
    grown = peak_memory(prepare, torch.device("cpu"))
    seconds = time.perf_counter() - start
    lines = Path("/proc/self/status").read_text().splitlines() if Path("/proc/self/status").exists() else []
    whole = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), None)
    print(json.dumps({"seconds": seconds, "peak_bytes": grown, "process_peak_bytes": whole}))


def start_up() -> dict[str, float]:
    """Seconds of importing torch, and of what comes on top until a first mask is refined; kernels are on disk."""
    code = (
        "import time; a = time.perf_counter(); import torch; b = time.perf_counter()\n"
        "from spatialprop import Refiner; import numpy as np\n"
        "refiner = Refiner.load(); c = time.perf_counter()\n"
        "refiner(np.zeros((64, 64, 3), np.uint8), np.eye(64, dtype=np.uint8)); d = time.perf_counter()\n"
        "print(b - a, c - b, d - c)"
    )
    runs = []
    for _ in range(4):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        runs.append([float(word) for word in done.stdout.split()])
    torch_s, import_s, first_s = np.median(runs[1:], axis=0)
    return {"import_torch_s": torch_s, "import_and_build_s": import_s, "first_call_s": first_s}


def report(results: dict[str, object]) -> str:
    times: dict[str, dict[str, float]] = results["times"]  # type: ignore[assignment]
    rows = [[name, f"{t['median_ms']:.1f}", f"{t['low_ms']:.1f}", f"{t['high_ms']:.1f}"] for name, t in times.items()]
    large: list[dict[str, Any]] = results["large"]  # type: ignore[assignment]
    grown = []
    for e in large:
        memory = [_gib(e["peak_bytes"]), _gib(e["process_peak_bytes"])]
        grown.append([e["weights"], f"{e['side']} x {e['side']}", str(e["classes"]), f"{e['seconds']:.1f}", *memory])
    start: dict[str, float] = results["start_up"]  # type: ignore[assignment]
    return "\n\n".join(
        [
            f"# The refiner on {results['machine']['threads']} threads of a {results['machine']['processor']}",  # type: ignore[index]
            f"{results['side']} x {results['side']}, {results['classes']} classes that all take part, coarse map at an "
            f"eighth. Milliseconds: median and quartiles.",
            markdown_table(["", "median", "low", "high"], rows),
            "Larger images, each in a process of its own. GiB above what the process held before, and of the whole "
            "process.",
            markdown_table(["weights", "image", "classes", "s", "GiB", "GiB whole"], grown),
            f"Ready {start['import_and_build_s']:.2f} s after torch is imported ({start['import_torch_s']:.2f} s); the "
            f"first mask takes {start['first_call_s']:.2f} s, with kernels compiled by an earlier run.",
        ]
    )


def _gib(size: float | None) -> str:
    return "-" if size is None else f"{size / 2**30:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast is the refiner, and how much memory does it take?")
    parser.add_argument("--weights", nargs="+", default=["light", "base"], help="names, or .safetensors files")
    parser.add_argument("--quick", action="store_true", help="small images, to see that the benchmark itself works")
    parser.add_argument("--output", type=Path, default=HERE.parent / "results" / "benchmarks")
    parser.add_argument("--alone", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        answer(options.alone)
        return
    side, classes = (96, 21) if options.quick else (512, 21)
    weights, *others = options.weights
    contenders = {**steps(Refiner.load(weights), side, classes), **rivals(side, classes, others)}
    times = {
        name: summary(taken)
        for name, taken in interleave(contenders, HostStopwatch(), 0.2 if options.quick else 4).items()
    }
    large = []
    sizes = ((128, 5), (192, 5)) if options.quick else ((1024, 5), (2048, 5), (4096, 40), (4096, 5))
    for one, bigger, among in [*((weights, *size) for size in sizes), *((other, *sizes[-1]) for other in others)]:
        found, failure = alone(Path(__file__), {"side": bigger, "classes": among, "weights": one}, 600)
        if failure:
            raise SystemExit(f"{one}, {bigger} x {bigger}, {among} classes: {failure}")
        large.append({"weights": Path(one).stem, "side": bigger, "classes": among, **found})
    results: dict[str, object] = {
        "machine": machine(torch.device("cpu")), "weights": [Path(one).name for one in options.weights],
        "side": side, "classes": classes, "times": times, "large": large, "start_up": start_up(),
    }  # fmt: skip
    options.output.mkdir(parents=True, exist_ok=True)
    write_json(options.output / "refiner.json", results)
    text = report(results)
    write_file(options.output / "refiner.md", text + "\n")
    print(text)


if __name__ == "__main__":
    main()
