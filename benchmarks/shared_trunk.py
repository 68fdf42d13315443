"""What does a shared trunk save? Milliseconds of a segmenter alone, with a guidance network, and with shared features.

    OMP_NUM_THREADS=1 python benchmarks/shared_trunk.py        about 2 minutes of one core

One image of 375 x 500 pixels, 21 classes, networks at full width with random weights, 32 hidden maps. What is counted
is the time of the processor, on one thread, and the least of a few rounds, in which the ways take turns: so other work
on the machine matters little. Writes shared_trunk.json and .md to results/benchmarks.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from measure import markdown_table
from torch import nn

from spatialprop.experiment.origin import machine
from spatialprop.files import write_file, write_json
from spatialprop.nn import JointNetwork
from spatialprop.nn.guidance import LightGuidance, UNetGuidance, VGG16Guidance
from spatialprop.nn.segmenters import DeepLabVGG, UNet

SEGMENTERS: dict[str, Callable[[], nn.Module]] = {
    "U-Net at half the size": lambda: UNet(21, factor=2, width=32, depth=3),
    "DeepLab on VGG-16": lambda: DeepLabVGG(21),
}
GUIDANCE = {"VGG-16": VGG16Guidance, "U-Net": UNetGuidance, "light": LightGuidance, "shared trunk": None}


@torch.inference_mode()
def measured(segmenter: nn.Module, rounds: int) -> dict[str, float]:
    """Milliseconds of one core that each way takes at least."""
    options = {"num_classes": 21, "hidden": 32}
    ways = {"alone": segmenter} | {
        name: JointNetwork(segmenter, guidance, **options).eval() for name, guidance in GUIDANCE.items()
    }
    image = torch.rand(1, 3, 375, 500)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):  # the first one warms up
        for name, network in ways.items():
            start = time.process_time()
            network(image)
            if number:
                seconds[name].append(time.process_time() - start)
    return {name: 1000 * min(times) for name, times in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "results" / "benchmarks")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {name: measured(make().eval(), options.rounds) for name, make in SEGMENTERS.items()}
    rows = [
        [name, f"{times['alone']:.0f}", *(f"{times[way] - times['alone']:+.0f}" for way in GUIDANCE)]
        for name, times in found.items()
    ]
    table = markdown_table(["segmenter", "alone, ms", *(f"+ {way}, ms" for way in GUIDANCE)], rows)
    others = os.getloadavg()[0] - 1
    where = f"{machine()}; {f'busy: {others:.0f} other processes ran' if others > 0.5 else 'idle but for this'}"
    write_json(options.output / "shared_trunk.json", {"machine": where, "milliseconds": found})
    write_file(options.output / "shared_trunk.md", f"# What a shared trunk saves\n\n{table}\n\n{where}\n")
    print(table)


if __name__ == "__main__":
    main()
