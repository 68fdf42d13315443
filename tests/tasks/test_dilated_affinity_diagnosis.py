"""What a test says of affinities, pixel by pixel."""

import torch
from hypothesis import given

from spatialprop.data import VOID
from spatialprop.metrics import AffinityScores
from spatialprop.ops import neighbour_labels
from spatialprop.tasks.dilated_affinity_diagnosis import near_border
from tests.metrics.maps import random_maps


@given(maps=random_maps(max_side=9))
def test_near_a_border_is_another_class_within_two_cells(maps):
    label = torch.where(maps.target < 0, VOID, maps.target)
    count, height, width = label.shape
    expected = torch.zeros_like(label, dtype=torch.bool)
    for n, i, j in torch.cartesian_prod(*map(torch.arange, (count, height, width))).reshape(-1, 3).tolist():
        around = label[n, max(0, i - 2) : i + 3, max(0, j - 2) : j + 3]
        expected[n, i, j] = label[n, i, j] != VOID and ((around != VOID) & (around != label[n, i, j])).any()
    assert torch.equal(near_border(label), expected)


def test_the_band_is_the_same_at_all_dilations():
    """Of two halves, affinity sees the border only from the two columns next to it."""
    label = (torch.arange(40) >= 20).long().expand(1, 30, 40).contiguous()
    truth = neighbour_labels(label, (1, 8), ignore_index=VOID)
    columns = torch.arange(40)
    seen = ((columns - 19.5).abs() < 2) & (truth == 0)
    scores = AffinityScores((1, 8))
    scores.update((~seen).float(), truth, near_border(label))
    found = scores.compute()
    assert found["8"]["near_border"]["different"]["recall"] == 1
    assert (
        found["8"]["all"]["different"]["recall"] == 0.25
    )  # 4 of the 16 columns from which a pair of distance 8 crosses
    assert found["1"]["all"]["different"]["recall"] == found["1"]["near_border"]["different"]["recall"] == 1


def test_neither_side_of_a_border_is_preferred():
    label = torch.randint(3, (1, 12, 15), generator=torch.Generator().manual_seed(0)).repeat_interleave(3, 2)
    affinity = torch.rand(label.shape, generator=torch.Generator().manual_seed(1))
    found = []
    for flipped in (label, label.flip(2)):
        truth = neighbour_labels(flipped, (1, 4), ignore_index=VOID)
        # As predicted, a pair says the same from both ends: here what the mean of both ends says.
        cells = affinity if flipped is label else affinity.flip(2)
        scores = AffinityScores((1, 4))
        scores.update(_of_pairs(cells, (1, 4)), truth, near_border(flipped))
        found.append(scores.compute())
    assert found[0] == found[1]


def _of_pairs(cells, dilations):
    pairs = torch.zeros(1, 8 * len(dilations), *cells.shape[-2:])
    offsets = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
    for place, dilation in enumerate(dilations):
        for index, (i, j) in enumerate(offsets):
            other = cells.roll((-dilation * i, -dilation * j), (1, 2))
            pairs[:, 8 * place + index] = (cells + other) / 2
    return pairs
