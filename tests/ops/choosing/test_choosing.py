"""Each pixel chooses between cells and itself."""

import pytest
import torch
from torch.nn import functional as F

from spatialprop.ops.choosing import CHOICES, SUBPIXELS, choose, most_likely


def some(classes, coarse_size, size, batch=2):
    generator = torch.Generator().manual_seed(classes)
    cells_size = [-(-side // 2) for side in size]
    coarse = torch.rand(batch, classes, *coarse_size, generator=generator).mul(9).softmax(dim=1)
    cells = torch.rand(batch, classes, *cells_size, generator=generator).mul(9).softmax(dim=1)
    choice = torch.rand(batch, SUBPIXELS, CHOICES, *cells_size, generator=generator).mul(4).softmax(dim=2)
    return coarse, cells, choice


def test_choice_of_itself_keeps_the_map_and_of_cells_enlarges():
    generator = torch.Generator().manual_seed(0)
    cells, whole = torch.rand(1, 2, 4, 5, generator=generator), torch.rand(1, 2, 8, 10, generator=generator)
    choice = torch.zeros(1, SUBPIXELS, CHOICES, 4, 5)
    choice[:, :, 4] = 1
    assert torch.equal(choose(cells, whole, choice), whole)
    bilinear = torch.tensor([[1, 3, 3, 9], [3, 1, 9, 3], [3, 9, 1, 3], [9, 3, 3, 1]]) / 16
    choice = F.pad(bilinear, (0, 1)).view(1, SUBPIXELS, CHOICES, 1, 1).expand(1, SUBPIXELS, CHOICES, 4, 5)
    torch.testing.assert_close(choose(cells, whole, choice), F.interpolate(cells, scale_factor=2, mode="bilinear"))


SIZES = [
    ((2, 3), (16, 24)),
    ((3, 3), (7, 9)),
    ((1, 1), (1, 1)),
    ((16, 24), (16, 24)),
    ((20, 9), (5, 30)),
    ((12, 4), (12, 9)),
]


@pytest.mark.parametrize("classes", [1, 2, 7])
@pytest.mark.parametrize(("coarse_size", "size"), SIZES)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_labels_are_those_of_the_largest_value(classes, coarse_size, size, device):
    coarse, cells, choice = some(classes, coarse_size, size)
    whole = F.interpolate(coarse, size=size, mode="bilinear")
    if device == "meta":  # the plain form knows no kernel
        assert most_likely(coarse.to("meta"), size, cells.to("meta"), choice.to("meta")).shape == (2, *size)
        coarse, cells, choice, whole = (one.double() for one in (coarse, cells, choice, whole))
    assert torch.equal(most_likely(coarse, size).long(), whole.argmax(dim=1))
    assert torch.equal(most_likely(coarse, size, cells, choice).long(), choose(cells, whole, choice).argmax(dim=1))


@pytest.mark.parametrize("classes", [1, 4])
def test_a_label_has_all_of_its_pixel(classes):
    _, cells, choice = some(classes, (1, 1), (13, 10))
    places = torch.randint(classes, (2, 13, 10), generator=torch.Generator().manual_seed(0))
    whole = F.one_hot(places, classes).permute(0, 3, 1, 2).float()
    wanted = choose(cells, whole, choice).argmax(dim=1)
    for kind in (torch.int32, torch.int64):  # compiled, and plain
        assert torch.equal(most_likely(places.to(kind), (13, 10), cells, choice).long(), wanted)


def test_neither_layout_nor_the_number_of_threads_matters():
    coarse, cells, choice = some(5, (40, 30), (320, 240), batch=1)
    wanted = most_likely(coarse, (320, 240), cells, choice)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        turned = [one.transpose(-1, -2).contiguous().transpose(-1, -2) for one in (coarse, cells, choice)]
        assert torch.equal(most_likely(turned[0], (320, 240), *turned[1:]), wanted)
    finally:
        torch.set_num_threads(before)


def test_the_first_of_equally_likely_classes_wins():
    shares = torch.tensor([[0.2, 0.5], [0.4, 0.5], [0.4, 0.0]]).view(1, 3, 1, 2)
    assert most_likely(shares, (1, 2)).flatten().tolist() == [1, 0]
    assert most_likely(shares.double(), (1, 2)).flatten().tolist() == [1, 0]


def test_of_equally_likely_classes_the_first_wins():
    coarse, cells, choice = some(1, (4, 5), (8, 10), batch=1)
    alike = [one.expand(-1, 3, -1, -1) for one in (coarse, cells)]
    assert not most_likely(alike[0], (8, 10)).any()
    assert not most_likely(alike[0], (8, 10), alike[1], choice).any()
