"""Hints see the partition of a coarse map, whatever its classes are called."""

import pytest
import torch
from torch.nn import functional as F

from spatialprop.nn.hints import COLOUR_HINTS, agreement, around, around_own_label, colour_hints, colours, label_borders
from spatialprop.nn.resize import pooled, unshuffled


@pytest.fixture
def labels():
    labels = torch.zeros(1, 12, 16, dtype=torch.int64)
    labels[:, 3:9, 5:11] = 2
    labels[:, 9:, :] = 1
    return labels


def shares_of(labels, classes=3):
    return F.one_hot(labels, classes).permute(0, 3, 1, 2).float()


def fits(image, shares, window=9):
    seen = colours(image)
    return colour_hints(image, around_own_label(seen, shares, window), around(seen, window))


def shifted(labels, down, across):
    """The label at (row + down, column + across), that on the edge beyond it."""
    rows = (torch.arange(labels.shape[1]) + down).clamp(0, labels.shape[1] - 1)
    columns = (torch.arange(labels.shape[2]) + across).clamp(0, labels.shape[2] - 1)
    return labels[:, rows][..., columns]


def test_borders_lie_before_a_change(labels):
    beside, below = label_borders(labels)[0]
    assert beside.sum() == 12
    assert torch.equal(beside[4].nonzero().flatten(), torch.tensor([4, 10]))
    assert torch.equal(below[:, 7].nonzero().flatten(), torch.tensor([2, 8]))


@pytest.mark.parametrize("offset", [1, 3, 40])
def test_agreement_with_labels_is_equality(labels, offset):
    found = agreement(shares_of(labels), [offset])[0]
    steps = [(0, offset), (offset, 0), (0, -offset), (-offset, 0)]
    for one, (down, across) in zip(found, steps, strict=True):
        torch.testing.assert_close(one, (shifted(labels, down, across) == labels)[0].float())


def test_several_offsets_follow_each_other(labels):
    shares = shares_of(labels)
    both = agreement(shares, [1, 4])
    assert torch.equal(both, torch.cat([agreement(shares, [1]), agreement(shares, [4])], dim=1))


def test_a_colour_of_the_other_side_fits_the_other_side():
    labels = torch.zeros(1, 32, 32, dtype=torch.int64)
    labels[..., 16:] = 1
    image = labels[:, None].float().expand(1, 3, 32, 32).clone()
    image[..., 10, 20] = 0  # looks like the left side, and is labelled as the right
    found = fits(image, shares_of(labels, 2), 16)[0, -1]
    assert found[10, 20] < -0.5
    assert found[10, 22] > 0.5


def test_nothing_depends_on_names_of_classes_or_on_absent_ones(labels):
    image = torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(0))
    shares = shares_of(labels)
    renamed = torch.cat([shares[:, [2, 0, 1]], torch.zeros_like(shares)], dim=1)
    for hint in (lambda s: agreement(s, [2]), lambda s: fits(image, s)):
        torch.testing.assert_close(hint(renamed), hint(shares))


def test_one_class_and_tiny_images():
    hints = fits(torch.rand(1, 3, 1, 2), torch.ones(1, 1, 1, 2))
    assert hints.shape == (1, COLOUR_HINTS, 1, 2)
    assert hints.isfinite().all()
    assert agreement(torch.ones(1, 1, 1, 2), [5]).eq(1).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (6, 6), (7, 13), (24, 25), (50, 31)])
@pytest.mark.parametrize("window", [5, 6, 24])
def test_around_is_what_a_class_that_has_all_of_each_pixel_hears(size, window):
    maps = torch.rand(2, 3, *size)
    torch.testing.assert_close(around(maps, window), around_own_label(maps, torch.ones(2, 1, *size), window))


@pytest.mark.parametrize("side", [1, 2, 4])
def test_unshuffled_is_pixel_unshuffle(side):
    pixels = torch.rand(2, 3, 8, 12)
    torch.testing.assert_close(unshuffled(pixels, side), F.pixel_unshuffle(pixels, side), rtol=0, atol=0)


@pytest.mark.parametrize("side", [1, 2, 4])
def test_pooled_is_average_pooling(side):
    maps = torch.randn(2, 3, 3 * side, 5 * side)
    torch.testing.assert_close(pooled(maps, side), F.avg_pool2d(maps, side))
    transposed = maps.mT
    torch.testing.assert_close(pooled(transposed, side), F.avg_pool2d(transposed, side))
