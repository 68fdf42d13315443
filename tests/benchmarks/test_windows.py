"""The benchmark of windows measures differences as it defines them."""

import importlib
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from spatialprop.data import LabelSet
from spatialprop.nn.guidance import LightGuidance
from spatialprop.tasks import Parts, Refine
from spatialprop.tasks.windows import Windows


@pytest.fixture(scope="module")
def windows():
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        yield importlib.import_module("windows")
    finally:
        sys.path.remove(folder)


class Brightness(nn.Module):
    """The mean brightness of what it sees decides for all of it."""

    def forward(self, image, coarse):
        share = image.mean(dim=(1, 2, 3), keepdim=True).expand(-1, 1, *image.shape[-2:])
        return torch.cat([share, 1 - share], dim=1).log()


def test_differences_to_the_whole_image(windows):
    image = torch.full((1, 3, 64, 128), 0.9)
    image[..., 64:] = 0.3  # 0.6 on the whole; the halves disagree
    batch = {"image": image, "coarse": torch.full((1, 2, 64, 128), 0.5), "label": torch.zeros(1, 64, 128).long()}
    task = Refine(Parts(LabelSet("two", ("a", "b")), guidance=LightGuidance))
    task.network = Brightness()
    found = windows.differences(task, iter([batch]), {"halves": Windows(64, 0)})
    assert found["whole image"].cells()[:3] == ["0.000 %", "0.000", "0.00000"]
    assert found["halves"].cells() == ["50.000 %", "0.300", "0.30000", "25.00"]
