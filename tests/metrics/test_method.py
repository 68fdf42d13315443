"""`MethodScores`: the scores of its parts, ready for JSON."""

import copy
import json

import pytest
import torch
from torch import nn

from spatialprop.metrics import BoundaryIoU, MethodScores, SegmentationScores, TrimapIoU
from tests.metrics.maps import DEVICES, VOID, make_maps


def method(**options):
    return MethodScores(5, ignore_index=VOID, **options)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scored_classes", [None, [1, 2]])
def test_holds_the_scores_of_its_parts(scored_classes, device):
    maps = make_maps(0)
    pred, target = maps.pred.to(device), maps.target.to(device)
    options = {"ignore_index": VOID, "scored_classes": scored_classes}
    scores = method(scored_classes=scored_classes, radii=(1, 5)).to(device)
    scores.update(pred, target)
    result = scores.compute()
    segmentation = SegmentationScores(5, **options).to(device)(pred, target)
    assert result == {
        "mIoU": segmentation["mIoU"].item(),
        "pixel_accuracy": segmentation["pixel_accuracy"].item(),
        "mean_accuracy": segmentation["mean_accuracy"].item(),
        "boundary_IoU": BoundaryIoU(5, **options).to(device)(pred, target)["boundary_IoU"].item(),
        "per_class_IoU": [*segmentation["per_class_IoU"][:4].tolist(), None],
        "trimap_IoU": {
            str(radius): value.item()
            for radius, value in TrimapIoU(5, radii=(1, 5), **options).to(device)(pred, target)["trimap_IoU"].items()
        },
    }
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_the_default_curve_has_twenty_radii():
    scores, maps = method(), make_maps(1)
    scores.update(maps.pred, maps.target)
    assert list(scores.compute()["trimap_IoU"]) == [str(radius) for radius in range(1, 21)]


def test_what_is_undefined_is_none():
    scores = method(radii=[1])
    void = torch.full((1, 3, 3), VOID)
    scores.update(torch.zeros_like(void), void)
    assert scores.compute() == {
        "mIoU": None,
        "pixel_accuracy": None,
        "mean_accuracy": None,
        "boundary_IoU": None,
        "per_class_IoU": [None] * 5,
        "trimap_IoU": {"1": None},
    }


def test_reset_forgets():
    scores, fresh, maps = method(), method(), make_maps(2)
    scores.update(maps.target.where(maps.target != VOID, 0), maps.target)
    assert scores.compute()["mIoU"] == 1
    scores.reset()
    for each in (scores, fresh):
        each.update(maps.pred, maps.target)
    assert scores.compute() == fresh.compute()
    assert fresh.compute()["mIoU"] < 1


def test_moves_with_the_module_that_holds_it():
    holder = nn.ModuleDict({"coarse": method(), "refined": method()}).to("meta")
    for scores in holder.values():
        states = [state for metric in scores.children() for state in metric.metric_state.values()]
        assert len(states) == 4
        assert {state.device.type for state in states} == {"meta"}


def test_leaves_no_trace_in_checkpoints():
    scores = method()
    assert scores.state_dict() == {}
    assert list(scores.parameters()) == []


def test_copies_count_on_their_own():
    scores, maps = method(), make_maps(3)
    scores.update(maps.pred, maps.target)
    before = scores.compute()
    twin = copy.deepcopy(scores)
    twin.update(maps.target.where(maps.target != VOID, 0), maps.target)
    assert scores.compute() == before != twin.compute()
