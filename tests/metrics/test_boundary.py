"""Scores near borders, against their definitions and by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spatialprop.metrics import BoundaryIoU, SegmentationScores, TrimapIoU, correct_near_borders, distance_to_border
from tests.metrics import reference
from tests.metrics.maps import DEVICES, VOID, make_maps, random_maps


def compute(metric, pred, target):
    metric.update(pred, target)
    return metric.compute()


@given(maps=random_maps(max_side=9), limit=st.integers(1, 10))
def test_distance_equals_the_definition(maps, limit):
    expected = reference.distance_to_border(maps.target.numpy(), limit)
    assert np.array_equal(distance_to_border(maps.target, limit).numpy(), expected)


def test_distance_by_hand():
    labels = torch.zeros(1, 5, 6, dtype=torch.int64)
    labels[0, 0, 0] = 7
    assert distance_to_border(labels, 4).tolist() == [
        [[1, 1, 2, 3, 4, 5], [1, 1, 2, 3, 4, 5], [2, 2, 2, 3, 4, 5], [3, 3, 3, 3, 4, 5], [4, 4, 4, 4, 4, 5]]
    ]


def test_the_border_of_the_image_is_no_border():
    assert (distance_to_border(torch.full((2, 4, 5), 3), 2) == 3).all()


def test_distance_refuses_a_limit_below_one():
    with pytest.raises(ValueError, match=r"limit must be at least 1.*got 0"):
        distance_to_border(torch.zeros(1, 2, 2, dtype=torch.int64), 0)


@given(maps=random_maps(), ratio=st.sampled_from([0.02, 0.1, 0.2, 2.0]))
def test_boundary_iou_equals_the_definition(maps, ratio):
    pred, target, counted = maps.numpy
    result = compute(BoundaryIoU(5, ignore_index=maps.ignore_index, ratio=ratio), maps.pred, maps.target)
    expected = reference.per_class_boundary_iou(pred, target, 5, ~counted, ratio)
    assert result["per_class_boundary_IoU"].tolist() == pytest.approx(expected, nan_ok=True)
    assert result["boundary_IoU"].item() == pytest.approx(reference.mean(expected), nan_ok=True)


@pytest.mark.parametrize(("height", "width"), [(60, 60), (60, 36), (120, 160)])  # bands of 1.7, 1.4 and 4 pixels
def test_boundary_iou_of_larger_images_at_the_default_ratio(height, width):
    maps = make_maps(0, batch=1, height=height, width=width, block=10)
    pred, target, counted = maps.numpy
    expected = reference.per_class_boundary_iou(pred, target, 5, ~counted)
    result = compute(BoundaryIoU(5, ignore_index=VOID, scored_classes=[1, 2, 4]), maps.pred, maps.target)
    assert result["per_class_boundary_IoU"].tolist() == pytest.approx(expected, nan_ok=True)
    assert result["boundary_IoU"].item() == pytest.approx((expected[1] + expected[2]) / 2)  # class 4 never occurs


def test_boundary_iou_by_hand():
    # Bands are one pixel wide; the prediction is the truth moved right by one.
    target = torch.zeros(1, 8, 8, dtype=torch.int64)
    target[0, 2:6, 2:6] = 1
    result = compute(BoundaryIoU(2), target.roll(1, dims=2), target)
    # Square: of the two rings of 12 pixels, three of the upper and three of the lower side coincide.
    # Background: all of the truth's 48 pixels are near a border; of the prediction's 48, six in column 1 are not, and
    # four in column 2 are not background in the truth.
    background, square = 38 / 52, 6 / 18
    assert result["per_class_boundary_IoU"].tolist() == pytest.approx([background, square])
    assert result["boundary_IoU"].item() == pytest.approx((background + square) / 2)


@pytest.mark.parametrize("label", range(5))
def test_a_prediction_that_is_perfect_where_it_counts_scores_one(label):
    maps = make_maps(4, void=0.4)
    pred = maps.target.where(maps.target != VOID, label)
    assert compute(BoundaryIoU(5, ignore_index=VOID, ratio=0.1), pred, maps.target)["boundary_IoU"] == 1
    curve = compute(TrimapIoU(5, ignore_index=VOID), pred, maps.target)["trimap_IoU"]
    assert all(value == 1 for value in curve.values())


def test_boundary_iou_of_wide_bands_is_the_iou():
    maps = make_maps(5)
    wide = compute(BoundaryIoU(5, ignore_index=VOID, ratio=1.0), maps.pred, maps.target)
    scores = compute(SegmentationScores(5, ignore_index=VOID), maps.pred, maps.target)
    torch.testing.assert_close(wide["per_class_boundary_IoU"], scores["per_class_IoU"], equal_nan=True)


@given(maps=random_maps(max_side=9), radii=st.sets(st.integers(1, 10), min_size=1))
def test_trimap_iou_equals_the_definition(maps, radii):
    pred, target, counted = maps.numpy
    options = {"ignore_index": maps.ignore_index, "radii": radii}
    result = compute(TrimapIoU(5, **options), maps.pred, maps.target)["trimap_IoU"]
    scored = compute(TrimapIoU(5, scored_classes=[0, 3], **options), maps.pred, maps.target)["trimap_IoU"]
    distance = reference.distance_to_border(target, max(radii))
    assert set(result) == set(scored) == radii
    for radius in radii:
        expected = reference.per_class_iou(pred, target, 5, counted & (distance <= radius))
        assert result[radius].item() == pytest.approx(reference.mean(expected), nan_ok=True)
        assert scored[radius].item() == pytest.approx(reference.mean([expected[0], expected[3]]), nan_ok=True)


def test_trimap_iou_by_hand():
    target = torch.tensor([[[0, 0, 0, 0, 1, 1, 1, VOID]]])
    pred = torch.tensor([[[1, 0, 0, 1, 1, 0, 1, 1]]])
    curve = compute(TrimapIoU(2, ignore_index=VOID, radii=(1, 2, 4)), pred, target)["trimap_IoU"]
    # Within 1: pixels 3 and 4, and pixel 6 because of void. Within 2: pixels 2 and 5 too. Within 4: all but void.
    expected = {1: (0 / 1 + 2 / 3) / 2, 2: (1 / 3 + 2 / 4) / 2, 4: (2 / 5 + 2 / 5) / 2}
    assert {radius: value.item() for radius, value in curve.items()} == pytest.approx(expected)


def test_trimap_iou_is_undefined_where_nothing_changes_its_label():
    labels = torch.ones(2, 6, 6, dtype=torch.int64)
    assert compute(TrimapIoU(2, radii=[3]), labels, labels)["trimap_IoU"][3].isnan()


def test_trimap_iou_tends_to_the_mean_iou():
    maps = make_maps(6)
    curve = compute(TrimapIoU(5, ignore_index=VOID, radii=[30]), maps.pred, maps.target)["trimap_IoU"]
    assert curve[30] == compute(SegmentationScores(5, ignore_index=VOID), maps.pred, maps.target)["mIoU"]


@pytest.mark.parametrize("make", [lambda: BoundaryIoU(5, ignore_index=VOID), lambda: TrimapIoU(5, ignore_index=VOID)])
@pytest.mark.parametrize("device", DEVICES)
def test_a_batch_counts_as_its_images_one_by_one(make, device):
    maps = make_maps(7, height=60, width=70)
    whole, by_image = make(), make().to(device)
    whole.update(maps.pred, maps.target)
    for pred, target in zip(maps.pred.to(device), maps.target.to(device), strict=True):
        by_image(pred.unsqueeze(0), target.unsqueeze(0))
    assert whole.metric_state.keys() == by_image.metric_state.keys()
    for name, state in whole.metric_state.items():
        assert state.sum() > 0
        assert torch.equal(state, by_image.metric_state[name].cpu())


@given(maps=random_maps(max_side=9), radius=st.integers(1, 4))
def test_mending_takes_the_truth_near_its_borders(maps, radius):
    pred, target, counted = maps.numpy
    near = reference.distance_to_border(target, radius) <= radius
    corrected = correct_near_borders(maps.pred, maps.target, radius, maps.ignore_index)
    assert np.array_equal(corrected.numpy(), np.where(near & counted, target, pred))


@pytest.mark.parametrize(("options", "radius"), [({}, 8), ({"radius": 4}, 4)])
def test_corrected_maps_are_right_within_the_radius_and_not_beyond(options, radius):
    target = torch.arange(60).div(30, rounding_mode="floor").expand(1, 20, 60)
    corrected = correct_near_borders(1 - target, target, **options)
    curve = compute(TrimapIoU(2), corrected, target)["trimap_IoU"]
    assert [r for r, value in curve.items() if value == 1] == list(range(1, radius + 1))


@pytest.mark.parametrize("metric", [BoundaryIoU, TrimapIoU])
def test_wrong_labels_and_classes_are_refused(metric):
    labels = torch.tensor([[[0, 2]]])
    with pytest.raises(ValueError, match="pred holds the label 2, but the 2 classes are 0 to 1"):
        metric(2).update(labels, labels)
    with pytest.raises(ValueError, match="scored_classes must be distinct indices"):
        metric(2, scored_classes=[2])


@pytest.mark.parametrize("ratio", [0, -0.1, math.nan])
def test_boundary_iou_refuses_a_ratio_without_width(ratio):
    with pytest.raises(ValueError, match="ratio must be positive"):
        BoundaryIoU(2, ratio=ratio)


@pytest.mark.parametrize("radii", [[], [0, 1], [-2]])
def test_trimap_iou_refuses_radii_without_pixels(radii):
    with pytest.raises(ValueError, match="radii must be one or more distances of at least 1 pixel"):
        TrimapIoU(2, radii=radii)
