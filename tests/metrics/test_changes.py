"""`RefinementChanges` against its definition and by hand."""

import math

import pytest
import torch
from hypothesis import given

from spatialprop.metrics import RefinementChanges
from tests.metrics.maps import DEVICES, VOID, make_maps, random_maps


def compute(coarse, refined, target, ignore_index):
    changes = RefinementChanges(ignore_index)
    changes.update(coarse, refined, target)
    return {name: value.item() for name, value in changes.compute().items()}


@given(maps=random_maps(max_side=9))
def test_equals_the_definition(maps):
    coarse, refined = maps.pred, maps.pred.roll(1, dims=2)
    kinds = []
    for old, new, truth in zip(*(labels.flatten().tolist() for labels in (coarse, refined, maps.target)), strict=True):
        if truth == maps.ignore_index:
            continue
        if old == new:
            kinds.append("same")
        elif new == truth:
            kinds.append("right")
        else:
            kinds.append("wrong" if old == truth else "neutral")
    changed = len(kinds) - kinds.count("same")
    expected = {"changed": changed / len(kinds) if kinds else math.nan}
    for kind in ("right", "wrong", "neutral"):
        expected[kind] = kinds.count(kind) / changed if changed else math.nan
    assert compute(coarse, refined, maps.target, maps.ignore_index) == pytest.approx(expected, nan_ok=True)


def test_by_hand():
    target = torch.tensor([[[0, 0, 1, 1, 2, 2, VOID, VOID, 0, 0]]])
    coarse = torch.tensor([[[0, 1, 0, 1, 0, 0, 0, 1, 0, 0]]])
    refined = torch.tensor([[[0, 0, 1, 0, 1, 0, 1, 1, 0, 0]]])
    expected = {"changed": 4 / 8, "right": 2 / 4, "wrong": 1 / 4, "neutral": 1 / 4}
    assert compute(coarse, refined, target, VOID) == pytest.approx(expected)


def test_nothing_changed():
    maps = make_maps(0)
    result = compute(maps.pred, maps.pred, maps.target, VOID)
    assert result.pop("changed") == 0
    assert all(math.isnan(value) for value in result.values())


@pytest.mark.parametrize("device", DEVICES)
def test_a_batch_counts_as_its_images_one_by_one(device):
    maps = make_maps(1)
    coarse, refined, target = maps.pred.to(device), maps.pred.roll(1, dims=2).to(device), maps.target.to(device)
    changes = RefinementChanges(VOID).to(device)
    for image in range(len(target)):
        changes(coarse[image : image + 1], refined[image : image + 1], target[image : image + 1])
    result = {name: value.item() for name, value in changes.compute().items()}
    assert result == compute(coarse.cpu(), refined.cpu(), target.cpu(), VOID)


def test_maps_of_other_shapes_are_refused():
    labels = torch.zeros(1, 4, 4, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"coarse \(1, 4, 3\), refined \(1, 4, 4\), target \(1, 4, 4\)"):
        RefinementChanges().update(labels[..., 1:], labels, labels)
    with pytest.raises(TypeError, match=r"refined must hold int64 labels; got torch\.uint8"):
        RefinementChanges().update(labels, labels.byte(), labels)
