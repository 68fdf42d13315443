"""`SegmentationScores` against its definition, against torchmetrics, and by hand."""

import math

import pytest
import torch
from hypothesis import given
from torchmetrics.classification import MulticlassJaccardIndex
from torchmetrics.segmentation import MeanIoU

from spatialprop.metrics import SegmentationScores
from tests.metrics import reference
from tests.metrics.maps import DEVICES, VOID, make_maps, random_maps


def scores_of(maps, **options):
    scores = SegmentationScores(maps.num_classes, ignore_index=maps.ignore_index, **options)
    scores.update(maps.pred, maps.target)
    return scores.compute()


@given(maps=random_maps())
def test_equals_the_definition(maps):
    pred, target, counted = maps.numpy
    scores = scores_of(maps)
    per_class = reference.per_class_iou(pred, target, 5, counted)
    accuracy = reference.per_class_accuracy(pred, target, 5, counted)
    assert scores["per_class_IoU"].tolist() == pytest.approx(per_class, nan_ok=True)
    assert scores["mIoU"].item() == pytest.approx(reference.mean(per_class), nan_ok=True)
    assert scores["mean_accuracy"].item() == pytest.approx(reference.mean(accuracy), nan_ok=True)
    right = ((pred == target) & counted).sum()
    assert scores["pixel_accuracy"].item() == pytest.approx(reference.share(right, counted.sum()), nan_ok=True)


@given(maps=random_maps())
def test_means_take_in_the_scored_classes_only(maps):
    pred, target, counted = maps.numpy
    scores = scores_of(maps, scored_classes=[3, 1])
    per_class = reference.per_class_iou(pred, target, 5, counted)
    accuracy = reference.per_class_accuracy(pred, target, 5, counted)
    assert scores["mIoU"].item() == pytest.approx(reference.mean([per_class[1], per_class[3]]), nan_ok=True)
    assert scores["mean_accuracy"].item() == pytest.approx(reference.mean([accuracy[1], accuracy[3]]), nan_ok=True)
    assert scores["per_class_IoU"].tolist() == pytest.approx(per_class, nan_ok=True)
    assert torch.equal(scores["pixel_accuracy"].nan_to_num(), scores_of(maps)["pixel_accuracy"].nan_to_num())


@pytest.mark.parametrize("ignore_index", [255, 0, None])
@pytest.mark.parametrize("present", [2, 5])
def test_agrees_with_the_jaccard_index_of_torchmetrics(present, ignore_index):
    maps = make_maps(0, present=present, void=0.2 if ignore_index == 255 else 0)._replace(ignore_index=ignore_index)
    jaccard = MulticlassJaccardIndex(maps.num_classes, average="macro", ignore_index=ignore_index)
    assert scores_of(maps)["mIoU"].item() == pytest.approx(jaccard(maps.pred, maps.target).item())


def test_mean_iou_of_torchmetrics_averages_over_images_instead():
    # Class 1 is a single missed pixel in the first image and all of the second.
    target = torch.zeros(2, 4, 4, dtype=torch.int64)
    target[0, 0, 0] = 1
    target[1] = 1
    pred = target.clone()
    pred[0, 0, 0] = 0
    mean_iou = MeanIoU(num_classes=2, input_format="index")
    mean_iou.update(pred, target)
    scores = SegmentationScores(2)
    scores.update(pred, target)
    assert scores.compute()["mIoU"].item() == pytest.approx((15 / 16 + 16 / 17) / 2)
    assert abs(mean_iou.compute() - scores.compute()["mIoU"]) > 0.1


def test_mean_iou_of_torchmetrics_fails_on_void():
    maps = make_maps(0)
    assert scores_of(maps)["mIoU"] > 0
    with pytest.raises(RuntimeError, match="Class values must be smaller than num_classes"):
        MeanIoU(num_classes=maps.num_classes, input_format="index").update(maps.pred, maps.target)


def test_by_hand():
    target = torch.tensor([[[0, 0, 0, 1], [1, 2, 255, 255]]])
    pred = torch.tensor([[[0, 0, 1, 1], [3, 2, 4, 0]]])
    scores = SegmentationScores(5, ignore_index=VOID)
    scores.update(pred, target)
    result = scores.compute()
    assert result["per_class_IoU"].tolist() == pytest.approx([2 / 3, 1 / 3, 1, 0, math.nan], nan_ok=True)
    assert result["mIoU"].item() == pytest.approx((2 / 3 + 1 / 3 + 1 + 0) / 4)
    assert result["pixel_accuracy"].item() == pytest.approx(4 / 6)
    assert result["mean_accuracy"].item() == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)  # class 3 is not in the truth


@pytest.mark.parametrize("device", DEVICES)
def test_a_batch_counts_as_its_images_one_by_one(device):
    maps = make_maps(1)
    scores = SegmentationScores(5, ignore_index=VOID).to(device)
    for pred, target in zip(maps.pred.to(device), maps.target.to(device), strict=True):
        batch = scores(pred.unsqueeze(0), target.unsqueeze(0))
    assert torch.equal(
        batch["mIoU"].cpu(), scores_of(maps._replace(pred=maps.pred[2:], target=maps.target[2:]))["mIoU"]
    )
    for name, value in scores_of(maps).items():
        torch.testing.assert_close(scores.compute()[name].cpu(), value, rtol=0, atol=0, equal_nan=True)


def test_updates_add_up():
    maps = make_maps(1)
    scores = SegmentationScores(5, ignore_index=VOID)
    for pred, target in zip(maps.pred, maps.target, strict=True):
        scores.update(pred.unsqueeze(0), target.unsqueeze(0))
    torch.testing.assert_close(scores.compute(), scores_of(maps), rtol=0, atol=0, equal_nan=True)


def test_reset_forgets():
    maps = make_maps(2)
    scores = SegmentationScores(5, ignore_index=VOID)
    scores.update(maps.pred, maps.pred)
    scores.reset()
    scores.update(maps.pred, maps.target)
    assert scores.compute()["mIoU"] == scores_of(maps)["mIoU"] < 1


def test_void_pixels_do_not_count_and_nothing_is_written_to():
    maps = make_maps(3)
    other = maps.pred.where(maps.target != VOID, 4 - maps.pred)
    pred, target = maps.pred.clone(), maps.target.clone()
    expected = scores_of(maps)
    assert torch.equal(maps.pred, pred)
    assert torch.equal(maps.target, target)
    assert not torch.equal(other, maps.pred)
    torch.testing.assert_close(scores_of(maps._replace(pred=other)), expected, equal_nan=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 1}, r"num_classes must be at least 2.*got 1"),
        ({"scored_classes": []}, r"scored_classes must be distinct indices from 0 to 2; got \[\]"),
        ({"scored_classes": [0, 3]}, r"from 0 to 2; got \[0, 3\]"),
        ({"scored_classes": [-1]}, r"from 0 to 2; got \[-1\]"),
        ({"scored_classes": [1, 1]}, r"distinct indices from 0 to 2; got \[1, 1\]"),
    ],
)
def test_wrong_choices_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SegmentationScores(**{"num_classes": 3, **options})


@pytest.mark.parametrize(
    ("pred", "target", "error", "message"),
    [
        ([[[0, 3]]], [[[0, 1]]], ValueError, r"pred holds the label 3, but the 3 classes are 0 to 2"),
        ([[[0, -1]]], [[[0, 1]]], ValueError, r"pred holds the label -1"),
        ([[[0, 255]]], [[[0, 255]]], ValueError, r"pred holds the label 255.*predictions hold no void"),
        ([[[0, 1]]], [[[0, 7]]], ValueError, r"target holds the label 7, .* 0 to 2, and ignore_index is 255"),
        ([[[0, 1]]], [[[0, -1]]], ValueError, r"target holds the label -1"),
        ([[0, 1]], [[0, 1]], ValueError, r"pred must be \(N, H, W\); got \(1, 2\).*unsqueeze\(0\)"),
        ([[[0, 1]]], [[[0], [1]]], ValueError, r"got pred \(1, 1, 2\), target \(1, 2, 1\)"),
        ([[[0.5, 1]]], [[[0, 1]]], TypeError, r"pred must hold int64 labels; got torch\.float32"),
    ],
)
def test_wrong_maps_are_refused(pred, target, error, message):
    scores = SegmentationScores(3, ignore_index=255)
    with pytest.raises(error, match=message):
        scores.update(torch.tensor(pred), torch.tensor(target))
