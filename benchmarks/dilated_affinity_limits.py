"""Measure how good affinities must be for propagation to help: writes limits.json, limits.md and limits.png.

    python benchmarks/dilated_affinity_limits.py RUN [--images 24]    RUN: the folder of a run of task=dilated_affinity

The head of a trained run is made more and less willing to tie pixels together, by adding a number to all its logits;
its errors stay where they are. For each such number the test images give the precision and recall of "these two are of
different classes", the mIoU that the steps of propagation gain over none, and how many of the changed pixels became
right and wrong. Nothing is trained. Files go to RUN/limits. About a minute for 24 images of 192 x 256 on one core.
"""

import argparse
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from spatialprop.data import VOID
from spatialprop.experiment.parts import make_splits
from spatialprop.experiment.run_folder import RunFolder
from spatialprop.experiment.trained import load_run, read_config
from spatialprop.files import write_beside, write_file, write_json
from spatialprop.metrics import AffinityScores, RefinementChanges, SegmentationScores
from spatialprop.nn.dilated import as_log_probabilities, both_ends, on_grid
from spatialprop.ops import neighbour_labels
from spatialprop.report import Table, percent
from spatialprop.report.dilated import net
from spatialprop.tasks.dilated_affinity import DilatedAffinity
from spatialprop.tasks.dilated_affinity_diagnosis import near_border
from spatialprop.tasks.dilated_affinity_loss import labels_on_grid

SHIFTS = (-4.0, -3.0, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)


@torch.inference_mode()
def measure(folder: Path, images: int) -> dict[str, Any]:
    """Scores of no step at all, and those of each shift of the logits."""
    task = load_run(folder)
    if not isinstance(task, DilatedAffinity) or task.network.head is None or task.network.propagation is None:
        raise SystemExit(f"{folder} is no run of task=dilated_affinity with a propagation; give one such as row (iii)")
    network, head, propagation = task.network, task.network.head, task.network.propagation
    test = make_splits(read_config(RunFolder(folder), trust=False)).test
    options = {"ignore_index": VOID, "scored_classes": task.labels.scored_classes}
    classes = len(task.labels.classes)
    before = SegmentationScores(classes, **options)
    after = {shift: SegmentationScores(classes, **options) for shift in SHIFTS}
    changes = {shift: RefinementChanges(VOID) for shift in SHIFTS}
    affinities = {shift: AffinityScores(head.dilations) for shift in SHIFTS}
    for index in range(min(images, len(test))):
        example = test[index]
        image = torch.from_numpy(example.image.copy()).permute(2, 0, 1).float().div(255)[None]
        label = torch.from_numpy(example.label.copy()).long()[None]
        size = image.shape[-2:]
        scores, features = network.segment(image)
        pairs = head(features, network.grid(scores, size))
        cells = labels_on_grid(label, pairs.shape[-2:])
        truth, near = neighbour_labels(cells, head.dilations, head.kernel, VOID), near_border(cells)
        x = on_grid(scores, pairs)
        unmoved = as_log_probabilities(x, size).argmax(1)
        before.update(unmoved, label)
        for shift in SHIFTS:
            affinities[shift].update(both_ends((pairs + shift).sigmoid(), head.dilations, head.kernel), truth, near)
            refined = as_log_probabilities(propagation(x, pairs + shift), size).argmax(1)
            after[shift].update(refined, label)
            changes[shift].update(unmoved, refined, label)
    return {
        "mIoU_without_steps": before.compute()["mIoU"].item(),
        "shifts": {
            str(shift): {
                "affinity": _mean_over_dilations(affinities[shift].compute()),
                "mIoU": after[shift].compute()["mIoU"].item(),
                "changes": {name: share.nan_to_num().item() for name, share in changes[shift].compute().items()},
            }
            for shift in SHIFTS
        },
    }


def _mean_over_dilations(scores: dict[str, Any]) -> dict[str, float]:
    """Precision and recall of "different" over all pairs; the mean over the dilations that have them."""
    found = {}
    for name in ("precision", "recall"):
        known = [places["all"]["different"][name] for places in scores.values()]
        known = [value for value in known if value is not None]
        found[name] = sum(known) / len(known) if known else float("nan")
    return found


def table(measured: dict[str, Any]) -> Table:
    rows = []
    for shift, found in measured["shifts"].items():
        gain = found["mIoU"] - measured["mIoU_without_steps"]
        cells = [percent(found["affinity"][name]) for name in ("precision", "recall")]
        cells += [percent(found["changes"][name]) for name in ("changed", "right", "wrong")]
        rows.append([shift, *cells, f"{100 * net(found['changes']):+.2f}", f"{100 * gain:+.2f}"])
    heading = ["added to logits", "precision", "recall", "changed", "rightly", "wrongly", "net", "mIoU gained"]
    return Table(heading, rows)


def draw(measured: dict[str, Any]) -> Figure:
    """The gain against the share of border pairs that are missed, whole and where it changes its sign."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.8), constrained_layout=True)
    gains = [found["mIoU"] - measured["mIoU_without_steps"] for found in measured["shifts"].values()]
    missed = [max(1e-4, 1 - found["affinity"]["recall"]) for found in measured["shifts"].values()]
    for axes in panels:
        axes.plot(missed, gains, "o-", color="#0969da")
        axes.axhline(0, color="#24292f", linewidth=0.8)
        axes.set_xscale("log")
        axes.set_xlabel("border pairs that affinity misses")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
        axes.grid(color="#d0d7de", linewidth=0.6)
    lowest = max(min(gains), -2 * max(*gains, 0.0025))
    near = [
        (*place, shift) for *place, shift in zip(missed, gains, measured["shifts"], strict=True) if place[1] >= lowest
    ]
    panels[1].set(ylim=(1.1 * lowest, 1.3 * max(*gains, 0.001)), title="enlarged; numbers: what was added to logits")
    for x, y, shift in near:
        panels[1].annotate(f"{float(shift):+g}", (x, y), (0, 6), textcoords="offset points", fontsize=8, ha="center")
    panels[0].set(ylabel="mIoU gained", title="propagation against the quality of affinities")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("--images", type=int, default=24, help="test images")
    options = parser.parse_args()
    measured = measure(options.run, options.images)
    folder = options.run / "limits"
    text = table(measured).text()
    write_json(folder / "limits.json", measured)
    write_file(folder / "limits.md", text + "\n")
    with write_beside(folder / "limits.png") as file:
        draw(measured).savefig(file, format="png", dpi=120)
    print(text)
    print(folder)


if __name__ == "__main__":
    main()
