"""Measure what the memory allocator costs `propagate`: results in fresh memory against memory that the process keeps.

    python benchmarks/allocators.py [--preload libjemalloc.so.2 ...]       about 2 minutes on two cores

Every setting runs in processes of its own, in turns. What counts is CPU time, of all threads and of the system on
their behalf: where pages are cleared, that is where it shows, and other processes on the machine do not. Writes
allocators.json and .md to results/benchmarks.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import measure
import torch
from propagation_cases import Case, make_inputs

from spatialprop import propagate
from spatialprop.files import write_file, write_json

SHAPES = [(8, 32, 64, 64), (1, 32, 512, 512)]
KEEP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "17179869184", "MALLOC_TOP_PAD_": "67108864"}


def answer(calls: int) -> None:
    """In a process of its own: CPU milliseconds of forward + backward."""
    times = {}
    for shape in SHAPES:
        inputs = make_inputs(Case(shape, shape[1], "three-way"), torch.device("cpu"))
        taken = []
        for _ in range(calls + 1):
            start = time.process_time()
            out = propagate(inputs.x, inputs.gates)
            grads = torch.autograd.grad(out, (inputs.x, inputs.gates), inputs.grad)
            taken.append(time.process_time() - start)
            del out, grads
        times["x".join(map(str, shape))] = median(taken[1:]) * 1e3
    print(json.dumps(times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preload", nargs="*", default=[], help="allocators to load before all else")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=6)
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "results" / "benchmarks")
    parser.add_argument("--answer", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.answer:
        answer(options.answer)
        return
    settings: dict[str, dict[str, str]] = {"as it is": {}, " ".join(f"{n}={v}" for n, v in KEEP.items()): KEEP}
    for library in options.preload:
        settings[f"LD_PRELOAD={Path(library).name}"] = {"LD_PRELOAD": library}
    command = [sys.executable, __file__, "--answer", str(options.calls)]
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in settings}
    for _ in range(options.rounds):
        for name, variables in settings.items():
            environment = {**os.environ, **variables}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
    found = {name: {size: median(run[size] for run in taken) for size in taken[0]} for name, taken in runs.items()}
    plain = found["as it is"]
    rows = [
        [f"`{name}`" if "=" in name else name, *(f"{ms:.1f} ({ms / plain[size]:.2f}x)" for size, ms in times.items())]
        for name, times in found.items()
    ]
    machine = measure.machine(torch.device("cpu"))
    text = "\n\n".join(
        [
            "# What the allocator costs `propagate`",
            f"{machine['processor']}, {machine['threads']} threads; torch {machine['torch']}; huge pages: "
            f"{machine['huge_pages']}. CPU milliseconds of forward + backward, three-way, float32, each channel its "
            f"own gates: medians of {options.rounds} processes, {options.calls} calls each, in turns.",
            measure.markdown_table(["environment", *plain], rows),
        ]
    )
    print(text)
    options.output.mkdir(parents=True, exist_ok=True)
    write_json(options.output / "allocators.json", {"machine": machine, "cpu_ms": runs})
    write_file(options.output / "allocators.md", text + "\n")


if __name__ == "__main__":
    main()
