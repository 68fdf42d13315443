"""`ErrorRegions` against a reading of its definition, and by hand."""

import numpy as np
import torch
from hypothesis import given

from spatialprop.metrics import ErrorRegions, error_regions
from spatialprop.metrics.error_regions import SIZES
from tests.metrics.maps import VOID, make_maps, random_maps


def flooded(wrong):
    """Connected sets of pixels, through eight neighbours."""
    left, regions = set(zip(*(axis.tolist() for axis in np.nonzero(wrong)), strict=True)), []
    while left:
        edge, region = [left.pop()], set()
        while edge:
            i, j = edge.pop()
            region.add((i, j))
            around = {(i + di, j + dj) for di in (-1, 0, 1) for dj in (-1, 0, 1)} & left
            left -= around
            edge += around
        regions.append(region)
    return regions


def expected(coarse, refined, target, ignore_index):
    sums = {size: [0, 0, 0] for size in SIZES}
    for before, after, truth in zip(coarse, refined, target, strict=True):
        counted = np.ones(truth.shape, bool) if ignore_index is None else truth != ignore_index
        for label in range(5):
            was, now = (counted & (labels == label) & (truth != label) for labels in (before, after))
            for region in flooded(was | now):
                size = sum(was[pixel] for pixel in region)
                bin_ = max(low for low in SIZES if low <= size)
                sums[bin_] = [a + b for a, b in zip(sums[bin_], (1, size, sum(now[p] for p in region)), strict=True)]
    return [list(map(int, row)) for row in sums.values()]


@given(maps=random_maps())
def test_equals_the_definition(maps):
    coarse, refined = maps.pred, maps.pred.roll(1, dims=2)
    regions = ErrorRegions(maps.ignore_index)
    regions.update(coarse, refined, maps.target)
    found = [list(row.values()) for row in regions.compute().values()]
    assert found == expected(coarse.numpy(), refined.numpy(), maps.target.numpy(), maps.ignore_index)


def test_every_wrong_pixel_is_counted_once():
    maps = make_maps(3, height=60, width=70)
    refined = maps.pred.roll(2, dims=1)
    regions = ErrorRegions(VOID)
    for image in range(len(maps.pred)):
        regions.update(maps.pred[image : image + 1], refined[image : image + 1], maps.target[image : image + 1])
    counted = maps.target != VOID
    rows = regions.compute().values()
    assert sum(row["before"] for row in rows) == (counted & (maps.pred != maps.target)).sum()
    assert sum(row["after"] for row in rows) == (counted & (refined != maps.target)).sum()


def test_names_of_sizes():
    regions, labels = ErrorRegions(), torch.zeros(1, 2, 2, dtype=torch.int64)
    regions.update(labels, labels, labels)
    assert list(regions.compute()) == ["0", "1-3", "4-15", "16-63", "64-255", "256-1023", "1024-4095", "4096-"]


def test_a_region_knows_where_it_is():
    target = torch.zeros(4, 5, dtype=torch.int64).numpy()
    coarse, refined = target.copy(), target.copy()
    coarse[1, 1], refined[1, 1:3], refined[3, 4] = 2, 2, 1
    regions = {region.predicted: region for region in error_regions(coarse, refined, target, None)}
    assert (regions[2].before, regions[2].after) == (1, 2)
    assert np.argwhere(regions[2].mask).tolist() == [[1, 1], [1, 2]]
    assert (regions[1].before, regions[1].after) == (0, 1)
