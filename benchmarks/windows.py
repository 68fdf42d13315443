"""How far do windows differ from the whole image? A trained run, tested in windows of several sizes and overlaps.

    python benchmarks/windows.py outputs/latest                       the run's own test images
    python benchmarks/windows.py outputs/latest data.size=[512,768]   larger ones; any override of evaluate.py
    python benchmarks/windows.py outputs/latest --windows 128:32 256:64

For each `window:overlap`, in pixels: the share of pixels whose label differs from that of the whole image, the largest
and the mean difference of a probability, and mIoU beside that of the whole image.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from measure import markdown_table
from torch import Tensor
from tqdm import tqdm

from spatialprop.data import VOID, Sample
from spatialprop.experiment.coarse import prepare_segmenter, with_coarse
from spatialprop.experiment.parts import make_data, make_splits
from spatialprop.experiment.run_folder import RunFolder
from spatialprop.experiment.trained import read_config, trained_task
from spatialprop.metrics import SegmentationScores
from spatialprop.tasks import Refine
from spatialprop.tasks.windows import Windows

DEFAULT = ("64:32", "128:0", "128:32", "128:64", "192:64")


class Difference:
    """Sums over images of how far a result lies from that of the whole image."""

    def __init__(self, classes: int) -> None:
        self.pixels = self.changed = 0
        self.total = self.largest = 0.0
        self.scores = SegmentationScores(classes, ignore_index=VOID)

    def update(self, probabilities: Tensor, whole: Tensor, label: Tensor) -> None:
        apart = (probabilities - whole).abs()
        chosen = probabilities.argmax(dim=1)
        self.changed += int((chosen != whole.argmax(dim=1)).sum())
        self.pixels += chosen.numel()
        self.total += float(apart.mean(dim=1).sum())
        self.largest = max(self.largest, float(apart.max()))
        self.scores.update(chosen, label)

    def cells(self) -> list[str]:
        miou = float(self.scores.compute()["mIoU"])
        return [
            f"{100 * self.changed / self.pixels:.3f} %",
            f"{self.largest:.3f}",
            f"{self.total / self.pixels:.5f}",
            f"{100 * miou:.2f}",
        ]


def run_and_images(folder: Path, overrides: list[str], work: Path) -> tuple[Refine, Iterator[Sample]]:
    from omegaconf import OmegaConf

    run = RunFolder(folder)
    config = read_config(run, trust=False)
    config.merge_with(OmegaConf.from_dotlist(overrides))
    config.loader.workers = 0
    splits = make_splits(config)
    task = trained_task(run, config, splits.labels, {})
    if not isinstance(task, Refine):
        raise SystemExit(f"{folder} holds a {type(task).__name__}; give a run of task=refine")
    prepare_segmenter(config, task.segmenter, splits, run)
    config.segmenter.cache = "files"
    test = with_coarse(config, splits.test, task.segmenter, work)
    return task, iter(make_data(config, splits._replace(test=test), with_coarse=True).test_dataloader())


@torch.inference_mode()
def differences(task: Refine, images: Iterator[Sample], windows: dict[str, Windows]) -> dict[str, Difference]:
    """For each kind of window, and for the whole image against itself."""
    found = {name: Difference(len(task.labels.classes)) for name in ("whole image", *windows)}
    for batch in tqdm(images, desc="Images", unit="image"):
        image, coarse, label = batch["image"], batch["coarse"], batch["label"]
        task.windows = Windows()
        whole = task.refine(image, coarse).exp()
        found["whole image"].update(whole, whole, label)
        for name, kind in windows.items():
            task.windows = kind
            found[name].update(task.refine(image, coarse).exp(), whole, label)
    return found


def main(arguments: list[str] | None = None) -> None:
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--windows", nargs="+", default=DEFAULT, metavar="WINDOW:OVERLAP")
    options = parser.parse_args(arguments)
    windows = {}
    for text in options.windows:
        size, _, overlap = text.partition(":")
        windows[f"{size}, overlap {overlap}"] = Windows(int(size), int(overlap))
    with tempfile.TemporaryDirectory() as work:
        task, images = run_and_images(options.run, options.overrides, Path(work))
        found = differences(task, images, windows)
    header = ["window", "labels that differ", "largest difference", "mean difference", "mIoU"]
    print(markdown_table(header, [[name, *difference.cells()] for name, difference in found.items()]))


if __name__ == "__main__":
    main()
