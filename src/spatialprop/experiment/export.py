"""A trained run as one program for other machines: an image in, labels out."""

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from spatialprop.experiment.run_folder import RunFolder
from spatialprop.nn import SpatialPropagation
from spatialprop.refiner import check_program, standard_propagation, write_program
from spatialprop.report import read_arrays
from spatialprop.tasks import Task
from spatialprop.tasks.windows import Windows


class Labelling(nn.Module):
    """The labels (1, H, W) that a task gives an image (1, 3, H, W), RGB from 0 to 1.

    Args:
        task: A trained task, which is left as it is.
        standard: Propagate with operators that ONNX knows, instead of this package's registered one.
    """

    def __init__(self, task: Task, *, standard: bool) -> None:
        super().__init__()
        self.task = copy.deepcopy(task).cpu().eval()
        self.task.windows = Windows()
        if standard:
            for layer in self.task.modules():
                if isinstance(layer, SpatialPropagation):
                    layer.propagate = standard_propagation(layer)  # type: ignore[assignment, method-assign]

    def forward(self, image: Tensor) -> Tensor:
        return self.task.scores(image).argmax(dim=1)


def export_labelling(task: Task, path: Path, size: tuple[int, int]) -> None:
    """Write what a task makes of images of one size (height, width) as `.pt2` or `.onnx`."""
    check_program(path)
    write_program(
        Labelling(task, standard=path.suffix == ".onnx"), {"image": torch.rand(1, 3, *size)}, ["labels"], path
    )


def size_of_test_images(run: RunFolder) -> tuple[int, int]:
    """Height and width of the first test image that a run has kept."""
    for path in sorted(run.examples.glob("*.npz")):
        try:
            height, width = read_arrays(path)["image"].shape[:2]
        except Exception as error:  # what a damaged archive raises is anything
            raise ValueError(f"{path} is no test image ({error}): say the size, such as --size 375x500") from None
        return height, width
    raise FileNotFoundError(f"{run.examples} holds no test image to take the size of: say it, such as --size 375x500")
