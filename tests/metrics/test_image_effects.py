"""`ImageEffects` against a reading of its definition, and by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given

from spatialprop.metrics import ImageEffects, RefinementChanges
from spatialprop.ops import neighbour_labels
from tests.metrics.maps import DEVICES, VOID, make_maps, random_maps
from tests.metrics.test_error_regions import flooded


def affinities(maps):
    truth = neighbour_labels(maps.target, (1, 2), ignore_index=maps.ignore_index)
    return torch.rand(truth.shape, generator=torch.Generator().manual_seed(0)), truth


def expected(coarse, refined, target, ignore_index, affinity, pairs):
    rows = []
    for before, after, truth, said, of_image in zip(coarse, refined, target, affinity, pairs, strict=True):
        counted = np.ones(truth.shape, bool) if ignore_index is None else truth != ignore_index
        wrong = counted & (before != truth)
        regions = [region for label in range(5) for region in flooded(wrong & (before == label))]
        small = sum(len(region) for region in regions if 1000 * len(region) <= truth.size)
        corrected = (wrong & (after == truth)).sum()
        broken = (counted & ~wrong & (after != truth)).sum()
        border = of_image == 0
        rows.append([counted.sum(), wrong.sum(), small, corrected, broken, border.sum(), (border & (said < 0.5)).sum()])
    return sorted([int(count) for count in row] for row in rows)


@pytest.mark.parametrize(("height", "width"), [(40, 50), (7, 1)])
@given(maps=random_maps())
def test_equals_the_definition(height, width, maps):
    if height > 7:  # large enough for regions that are small, and not too slow
        maps = make_maps(int(maps.target.sum()), 2, height, width, block=2)
    coarse, refined = maps.pred, maps.pred.roll(1, dims=2)
    affinity, pairs = affinities(maps)
    effects = ImageEffects(maps.ignore_index)
    effects.update(coarse, refined, maps.target, affinity, pairs)
    parts = (part.numpy() for part in (coarse, refined, maps.target))
    rows = expected(*parts, maps.ignore_index, affinity.numpy(), pairs.numpy())
    assert [list(row) for row in zip(*effects.compute().values(), strict=True)] == rows


def test_small_is_a_share_of_the_image():
    target = torch.zeros(1, 100, 100, dtype=torch.int64)
    coarse = target.clone()
    coarse[0, 2, 1:11], coarse[0, 20, 1:12] = 1, 1  # 10 pixels are one in 1000
    nothing = torch.zeros(1, 1, 100, 100)
    effects = ImageEffects()
    effects.update(coarse, torch.ones_like(coarse), target, nothing, nothing + 1)
    found = {name: values[0] for name, values in effects.compute().items()}
    assert found == {
        "pixels": 10_000, "wrong": 21, "wrong_in_small_regions": 10, "mended": 0, "broken": 9979, "border_pairs": 0,
        "border_pairs_seen": 0,
    }  # fmt: skip


@pytest.mark.parametrize("device", DEVICES)
def test_images_sum_up_to_the_changes(device):
    maps = make_maps(1)
    coarse, refined, target = maps.pred.to(device), maps.pred.roll(1, dims=2).to(device), maps.target.to(device)
    affinity, pairs = (part.to(device) for part in affinities(maps))
    whole, parts, changes = ImageEffects(VOID).to(device), ImageEffects(VOID).to(device), RefinementChanges(VOID)
    whole.update(coarse, refined, target, affinity, pairs)
    changes.update(*(labels.cpu() for labels in (coarse, refined, target)))
    for image in reversed(range(len(target))):
        one = slice(image, image + 1)
        parts.update(coarse[one], refined[one], target[one], affinity[one], pairs[one])
    assert parts.compute() == whole.compute()
    found = whole.compute()
    totals = [changes.valid, changes.right, changes.wrong]
    assert [sum(found[name]) for name in ("pixels", "mended", "broken")] == totals
    parts.reset()
    assert not torch.cat(parts.counts).numel()
