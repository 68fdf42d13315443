"""How fast is training? The loader alone, the network alone, and both together.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/training.py    about 3 minutes on two cores; train.py sets the same
    python benchmarks/training.py --quick                    seconds, on tiny images: does the benchmark itself work?

Data, patches, network and step are those of `python train.py`, with simulated coarse maps. Writes training.json and
training.md to results/benchmarks. README.md beside this says how to read them.
"""

import argparse
import datetime
import itertools
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import measure
import numpy as np
import torch
from propagation_report import machine_in_words
from torch.optim import AdamW

from spatialprop.data import Augment, Examples, SimulatedCoarse, Splits, SquarePatches, WithCoarse, synthetic
from spatialprop.data.loading.module import DataModule
from spatialprop.files import write_file, write_json
from spatialprop.nn import RefinementNetwork
from spatialprop.nn.guidance import LightGuidance
from spatialprop.tasks.losses import cross_entropy

WORKERS = (0, 1, 2)
BATCH_SIZE = 8
KINDS = ("loader", "network", "together")

METHOD = [
    "The loader: patches of more than one label, augmented, cropped and collated, batches of 8, four patches of each "
    "image an epoch. The images are in memory, as they are in every epoch but the first.",
    "The network: light guidance and three-way propagation, forward, backward and AdamW step on batches that are in "
    "memory already.",
    "Together: the network trained on what the loader gives. With workers the two share the cores.",
    "Medians over rounds, with the quartiles in brackets. Each round measures everything once, so that whatever "
    "disturbs the machine disturbs all; the first round warms up and does not count. Workers are started, and their "
    "queues filled, before the clock.",
]


class Step:
    """One step of training the default network."""

    def __init__(self) -> None:
        self.network = RefinementNetwork(LightGuidance)
        self.optimizer = AdamW(self.network.parameters(), lr=2e-3, weight_decay=1e-4)

    def __call__(self, batch: dict[str, torch.Tensor]) -> None:
        self.optimizer.zero_grad()
        cross_entropy(self.network(batch["image"], batch["coarse"]), batch["label"]).backward()
        self.optimizer.step()


def default_splits(quick: bool) -> Splits:
    size = (96, 96) if quick else (192, 256)
    splits = synthetic(train=24 if quick else 240, val=1, test=1, size=size, seed=0)
    return Splits(*map(with_simulated_coarse, splits))


def with_simulated_coarse(examples: Examples) -> Examples:
    return WithCoarse(examples, SimulatedCoarse(len(examples.labels.classes)))


def data_module(splits: Splits, workers: int, quick: bool) -> DataModule:
    patches = SquarePatches(48 if quick else 128, multi_label=True)
    module = DataModule(
        splits,
        patches,
        Augment(),
        seed=1,
        batch_size=BATCH_SIZE,
        per_image=4,
        workers=workers,
        with_coarse=True,
        memory=512,
    )
    for index in range(len(splits.train)):  # workers begin with what this process has kept
        module.training.examples[index]
    return module


def endless(loader: Iterable[dict[str, torch.Tensor]]) -> Iterator[dict[str, torch.Tensor]]:
    while True:
        yield from loader


def patches_per_second(steps: int, batches: Iterator[dict[str, torch.Tensor]], step: Step | None) -> float:
    start = time.perf_counter()
    for batch in itertools.islice(batches, steps):
        if step:
            step(batch)
    return steps * BATCH_SIZE / (time.perf_counter() - start)


def measure_rates(splits: Splits, quick: bool) -> list[dict[str, object]]:
    """Patches per second: the loader and both together for each number of workers, the network alone once."""
    rounds, steps = (2, 3) if quick else (6, 30)
    loaders = {workers: data_module(splits, workers, quick).train_dataloader() for workers in WORKERS}
    stored = list(itertools.islice(loaders[0], 2 if quick else 8))
    step = Step()
    rates: dict[tuple[str, int | None], list[float]] = {}
    for _ in range(rounds + 1):
        rates.setdefault(("network", None), []).append(patches_per_second(steps, itertools.cycle(stored), step))
        for workers, (kind, trains) in itertools.product(WORKERS, (("loader", None), ("together", step))):
            batches = endless(loaders[workers])
            next(batches)
            rates.setdefault((kind, workers), []).append(patches_per_second(steps, batches, trains))
            batches.close()
    return [
        {"kind": kind, "workers": workers, "rounds": rounds, "patches_per_s": quartiles(taken[1:])}
        for (kind, workers), taken in rates.items()
    ]


def quartiles(values: list[float]) -> dict[str, float]:
    return dict(zip(("low", "median", "high"), map(float, np.percentile(values, [25, 50, 75])), strict=True))


# Where a step goes: parts, and the beginnings of the names under which PyTorch's profiler counts them.
PARTS = {
    "propagation": ("spatialprop::",),
    "convolutions": ("aten::mkldnn_convolution", "aten::_slow_conv2d", "aten::convolution", "aten::thnn_conv2d"),
    "batch normalisation": ("aten::native_batch_norm",),
    "resizing": ("aten::upsample", "aten::_upsample"),
}


def profile_step(batch: dict[str, torch.Tensor], steps: int) -> list[dict[str, object]]:
    """The share of a step's own time that each part takes, largest first; what belongs to no part comes last."""
    step = Step()
    step(batch)  # compiles, allocates
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for _ in range(steps):
            step(batch)
    events = profiler.key_averages()
    spent = {
        part: sum(event.self_cpu_time_total for event in events if event.key.startswith(names))
        for part, names in PARTS.items()
    }
    # The optimizer is made of the same small operations as much else: it counts with all that it calls.
    spent["optimizer"] = sum(event.cpu_time_total for event in events if event.key.startswith("Optimizer.step"))
    total = sum(event.self_cpu_time_total for event in events)
    spent["everything else"] = total - sum(spent.values())
    shares = [{"part": part, "share": time_spent / total} for part, time_spent in spent.items()]
    return sorted(shares, key=lambda row: (row["part"] == "everything else", -row["share"]))


def markdown(results: dict[str, Any]) -> str:
    rates = []
    for row in results["rates"]:
        rate = row["patches_per_s"]
        workers = "" if row["workers"] is None else str(row["workers"])
        rates.append([row["kind"], workers, f"{rate['median']:.0f} ({rate['low']:.0f} to {rate['high']:.0f})"])
    shares = [[row["part"], f"{row['share']:.0%}"] for row in results["profile"]]
    blocks = [
        "# How fast training is",
        f"{machine_in_words(results['machine'])} Measured {results['date']}.",
        "\n".join(f"- {sentence}" for sentence in results["method"]),
        measure.markdown_table(["what", "workers", "patches per second"], rates),
        "Where a step of the network goes, by PyTorch's profiler:",
        measure.markdown_table(["part", "share"], shares),
    ]
    return "\n\n".join(blocks)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny images; writes nothing unless --output is given")
    parser.add_argument("--output", type=Path, help="folder for the results; by default results/benchmarks")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    splits = default_splits(options.quick)
    batch = next(iter(data_module(splits, 0, options.quick).train_dataloader()))
    results = {
        "machine": measure.machine(torch.device("cpu")),
        "date": datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat(),
        "method": METHOD,
        "profile": profile_step(batch, 2 if options.quick else 20),
        "rates": measure_rates(splits, options.quick),
    }
    text = markdown(results)
    print(text)
    output = options.output or (None if options.quick else Path(__file__).parents[1] / "results" / "benchmarks")
    if output:
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / "training.json", results)
        write_file(output / "training.md", text + "\n")


if __name__ == "__main__":
    main()
