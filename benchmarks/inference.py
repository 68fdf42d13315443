"""How long does one image take? Guidance and propagation apart, for an image of 512 x 512.

    python benchmarks/inference.py                         about 3 minutes on two cores
    python benchmarks/inference.py --device cuda           under a minute
    python benchmarks/inference.py --run outputs/latest    the network of a trained run instead of the papers'
    python benchmarks/inference.py --quick                 seconds, on a tiny image: does the benchmark itself work?

Writes inference_<device>.json and .md to results/benchmarks; with --run it prints only, unless --output is given.
"""

import argparse
import datetime
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import measure
import torch
from measure import HostStopwatch
from propagation_report import machine_in_words
from torch import Tensor

from spatialprop import baselines
from spatialprop.data import SimulatedCoarse, SyntheticShapes
from spatialprop.files import write_file, write_json
from spatialprop.nn import RefinementNetwork
from spatialprop.nn.guidance import LightGuidance, UNetGuidance, VGG16Guidance
from spatialprop.ops import normalize_gates, propagate
from spatialprop.tasks import Refine

SIZE, QUICK_SIZE = 512, 64
LAYER = (1, 32, 64, 64)  # the paper's single hidden layer
PARTS = ("guidance", "propagation", "whole")
METHOD = [
    "One image, float32, random weights (times do not depend on them), as a caller waits for it: on a GPU until the "
    "device is done. Medians, with the quartiles in brackets; warmed up; the parts take turns.",
    "Guidance: image in, raw gates out, at half the image's resolution. Propagation: everything from there on: the "
    "convolution to hidden maps, shrinking, two units of four scans, the convolution to classes, enlarging. Whole: "
    "both in one call.",
    "Hidden layer: one scan in one direction over 64 x 64 x 32 with three-way gates, what the paper gives 1.3 ms for. "
    "DenseCRF gets an image of the built-in data, ten iterations, on one core.",
    "The paper's own figures, without cuDNN on a GPU that it does not name: 7 ms (HELEN) and 84 ms (VOC) for an image "
    "of 512 x 512, and for DenseCRF on a CPU 1 s, 3.2 s and 4.4 s in three implementations.",
]


@dataclass(frozen=True)
class Case:
    name: str
    network: RefinementNetwork
    classes: int


def paper_cases() -> list[Case]:
    return [
        Case("HELEN: U-Net guidance, 11 classes", RefinementNetwork(UNetGuidance, num_classes=11, hidden=32), 11),
        Case("VOC: VGG-16 guidance, 21 classes", RefinementNetwork(VGG16Guidance, num_classes=21, hidden=32), 21),
        Case("light guidance, shared gates, 6 classes", RefinementNetwork(LightGuidance), 6),
    ]


def case_of_run(folder: Path) -> Case:
    from spatialprop.experiment.trained import load_run  # needs the extra "train"

    task = load_run(folder)
    if not isinstance(task, Refine):
        sys.exit(f"--run {folder} holds a {type(task).__name__}; guidance and propagation are parts of a task=refine")
    return Case(f"{folder}", task.network, len(task.labels.classes))


def inputs(case: Case, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    image = torch.rand(1, 3, size, size, device=device)
    coarse = torch.rand(1, case.classes, size // 8, size // 8, device=device).mul(4).softmax(dim=1)
    return image, torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear")


def parts_of(case: Case, size: int, device: torch.device) -> dict[str, Callable[[], object]]:
    """What is timed, each without arguments."""
    network = case.network.to(device).eval()
    image, coarse = inputs(case, size, device)
    gates = network.gates(image, coarse)
    return {
        "guidance": lambda: network.gates(image, coarse),
        "propagation": lambda: network.refine(coarse, gates),
        "whole": lambda: network(image, coarse),
    }


def hidden_layer(device: torch.device) -> dict[str, Callable[[], Tensor]]:
    x = torch.rand(LAYER, device=device)
    gates = normalize_gates(torch.randn(LAYER[0], 1, 3, *LAYER[1:], device=device), "clamp")
    return {"hidden layer": lambda: propagate(x, gates, directions=["right"])}


def dense_crf(size: int) -> dict[str, Callable[[], object]]:
    """DenseCRF on an image with textures and borders, because noise is the worst case of its lattice."""
    shapes = SyntheticShapes("test", 1, size=(size, size))
    example, classes = shapes[0], len(shapes.labels.classes)
    coarse = torch.from_numpy(SimulatedCoarse(classes)(example)).float()[None]
    shares = torch.nn.functional.interpolate(coarse / coarse.sum(dim=1, keepdim=True), (size, size), mode="bilinear")
    methods = {name: baselines.make(name) for name in baselines.installed()}
    return {
        f"{name}, {classes} classes": partial(method, example.image, shares[0].numpy())
        for name, method in methods.items()
    }


def times_of(steps: dict[str, Callable[[], object]], device: torch.device, seconds: float) -> dict[str, object]:
    def waited_for(step: Callable[[], object]) -> Callable[[int], object]:
        def run(_turn: int) -> object:
            result = step()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            return result

        return run

    contenders = {name: waited_for(step) for name, step in steps.items()}
    taken = measure.interleave(contenders, HostStopwatch(), seconds)
    return {name: measure.summary(times) for name, times in taken.items() if times}


@torch.inference_mode()
def measure_all(cases: list[Case], size: int, device: torch.device, seconds: float) -> dict[str, object]:
    return {
        "machine": measure.machine(device),
        "date": datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat(),
        "size": size,
        "method": METHOD,
        "networks": {case.name: times_of(parts_of(case, size, device), device, seconds) for case in cases},
        "layer": times_of(hidden_layer(device), device, seconds),
        "baselines": times_of(dense_crf(size), torch.device("cpu"), seconds),
    }


def markdown(results: dict[str, object]) -> str:
    rows = [[name, *(in_words(times.get(part)) for part in PARTS)] for name, times in results["networks"].items()]
    others = [[name, in_words(times)] for name, times in {**results["layer"], **results["baselines"]}.items()]
    return "\n\n".join(
        [
            f"# One image of {results['size']} x {results['size']}, in milliseconds",
            f"{machine_in_words(results['machine'])} Measured {results['date']}.",
            measure.markdown_table(["network", *PARTS], rows),
            measure.markdown_table(["beside", "ms"], others),
            *METHOD,
        ]
    )


def in_words(times: dict[str, float] | None) -> str:
    if times is None:
        return "out of memory"
    return f"{times['median_ms']:.1f} ({times['low_ms']:.1f} to {times['high_ms']:.1f})"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--run", type=Path, help="folder of a run of task=refine, such as outputs/latest")
    parser.add_argument("--quick", action="store_true", help="a tiny image; writes nothing unless --output is given")
    parser.add_argument("--output", type=Path, help="folder for the results; by default results/benchmarks")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("--device cuda needs a GPU that PyTorch can see; here is none")
    torch.manual_seed(0)
    cases = [case_of_run(options.run)] if options.run else paper_cases()
    size, seconds = (QUICK_SIZE, 0.02) if options.quick else (SIZE, 10.0)
    results = measure_all(cases, size, torch.device(options.device), seconds)
    text = markdown(results)
    print(text)
    output = options.output or (
        None if options.quick or options.run else Path(__file__).parents[1] / "results" / "benchmarks"
    )
    if output:
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / f"inference_{options.device}.json", results)
        write_file(output / f"inference_{options.device}.md", text + "\n")


if __name__ == "__main__":
    main()
