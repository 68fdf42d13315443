"""Each pixel chooses between cells and itself."""

import pytest
import torch
from torch.nn import functional as F

from spatialprop.nn.choosing import SUBPIXELS, choose, choose_labels, most_likely


def test_choice_of_itself_keeps_the_map_and_of_cells_enlarges():
    generator = torch.Generator().manual_seed(0)
    cells, whole = torch.rand(1, 2, 4, 5, generator=generator), torch.rand(1, 2, 8, 10, generator=generator)
    choice = torch.zeros(1, SUBPIXELS, 5, 4, 5)
    choice[:, :, 4] = 1
    assert torch.equal(choose(cells, whole, choice), whole)
    bilinear = torch.tensor([[1, 3, 3, 9], [3, 1, 9, 3], [3, 9, 1, 3], [9, 3, 3, 1]]) / 16
    choice = F.pad(bilinear, (0, 1)).view(1, SUBPIXELS, 5, 1, 1).expand(1, SUBPIXELS, 5, 4, 5)
    torch.testing.assert_close(choose(cells, whole, choice), F.interpolate(cells, scale_factor=2, mode="bilinear"))


@pytest.mark.parametrize("classes", [1, 2, 7])
def test_labels_are_those_of_the_mixture(classes):
    generator = torch.Generator().manual_seed(classes)
    coarse = torch.rand(2, classes, 2, 3, generator=generator).mul(9).softmax(dim=1)
    whole = F.interpolate(coarse, size=(16, 24), mode="bilinear")
    cells = F.interpolate(coarse.roll(1, dims=3), size=(8, 12), mode="bilinear")
    choice = torch.rand(2, SUBPIXELS, 5, 8, 12, generator=generator).mul(4).softmax(dim=2)
    before = whole.clone()
    assert torch.equal(choose_labels(cells, whole, choice), choose(cells, whole, choice).argmax(dim=1))
    assert torch.equal(whole, before)


def test_the_first_of_equally_likely_classes_wins():
    shares = torch.tensor([[0.2, 0.5], [0.4, 0.5], [0.4, 0.0]]).view(1, 3, 1, 2)
    assert most_likely(shares).flatten().tolist() == [1, 0]
