"""Measure a training step of the paper's HELEN network, here and in another checkout of this repository, in turns.

    python benchmarks/helen_step.py --before DIR      about 2 minutes on two cores

U-Net guidance, 32 hidden maps of 64 x 64 with gates of their own, two units, batches of four patches of 128 x 128:
forward, backward and SGD. Wall time and CPU time, the latter because other processes do not count in it. Also the
highest mark of memory that a step adds. Writes helen_step.json and .md to results/benchmarks.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import torch

HERE = Path(__file__).parents[1]


def answer(steps: int) -> None:
    """In a process of its own, with the package of one checkout or the other."""
    from functools import partial

    from spatialprop.nn import RefinementNetwork
    from spatialprop.nn.guidance import UNetGuidance

    torch.manual_seed(0)
    network = RefinementNetwork(partial(UNetGuidance, width=32), num_classes=11, hidden=32)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9)
    image, label = torch.rand(4, 3, 128, 128), torch.randint(0, 11, (4, 128, 128))
    coarse = torch.rand(4, 11, 128, 128).softmax(1)
    wall, processor = [], []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(steps + 1):
        starts = time.perf_counter(), time.process_time()
        optimizer.zero_grad()
        torch.nn.functional.nll_loss(network(image, coarse), label).backward()
        optimizer.step()
        wall.append(time.perf_counter() - starts[0])
        processor.append(time.process_time() - starts[1])
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps({"wall_ms": median(wall[1:]) * 1e3, "cpu_ms": median(processor[1:]) * 1e3, "peak_MiB": peak}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=False, help="another checkout")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "benchmarks")
    parser.add_argument("--answer", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.answer:
        answer(options.answer)
        return
    if options.before is None:
        parser.error("--before names the checkout to compare with")
    checkouts = {"before": options.before.resolve(), "now": HERE}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in checkouts}
    command = [sys.executable, __file__, "--answer", str(options.steps)]
    for turn in range(options.rounds + 1):
        for name, folder in checkouts.items():
            environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "OMP_WAIT_POLICY": "PASSIVE"}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            if turn > 0:  # the first compiles
                runs[name].append(json.loads(done.stdout.splitlines()[-1]))
    found = {name: {what: median(run[what] for run in taken) for what in taken[0]} for name, taken in runs.items()}
    revisions = {name: revision(folder) for name, folder in checkouts.items()}
    lines = ["| checkout | ms a step | CPU ms | peak MiB that steps add |", "| --- | ---: | ---: | ---: |"]
    lines += [
        f"| {name} ({revisions[name]}) | {one['wall_ms']:.0f} | {one['cpu_ms']:.0f} | {one['peak_MiB']:.0f} |"
        for name, one in found.items()
    ]
    ratios = {what: found["before"][what] / found["now"][what] for what in found["now"]}
    text = "\n\n".join(
        [
            "# A training step of the paper's HELEN network",
            f"torch {torch.__version__}, {torch.get_num_threads()} threads; medians of {options.rounds} processes of "
            f"each, in turns, {options.steps} steps each.",
            "\n".join(lines),
            f"Before over now: {ratios['wall_ms']:.2f} of time, {ratios['cpu_ms']:.2f} of CPU time, "
            f"{ratios['peak_MiB']:.2f} of memory.",
        ]
    )
    print(text)
    from spatialprop.files import write_file, write_json

    options.output.mkdir(parents=True, exist_ok=True)
    write_json(options.output / "helen_step.json", {"revisions": revisions, "runs": runs})
    write_file(options.output / "helen_step.md", text + "\n")


def revision(folder: Path) -> str:
    done = subprocess.run(["git", "-C", str(folder), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
