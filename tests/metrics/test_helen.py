"""`HelenFScores` against its definition and by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spatialprop.metrics import HelenFScores
from tests.metrics.maps import DEVICES, VOID, make_maps

COLUMNS = {
    "skin": {1},
    "brows": {2, 3},
    "eyes": {4, 5},
    "nose": {6},
    "mouth": {7, 8, 9},
    "U-lip": {7},
    "L-lip": {9},
    "in-mouth": {8},
    "overall": {2, 3, 4, 5, 6, 7, 8, 9},
}


def compute(pred, target, **options):
    scores = HelenFScores(**options)
    scores.update(pred, target)
    return {kind: {name: value.item() for name, value in of.items()} for kind, of in scores.compute().items()}


def expected(pred, target):
    """Precision and recall of each column, a pixel being in it or not."""
    f_measure, iou = {}, {}
    for column, labels in COLUMNS.items():
        predicted = [label in labels for label in pred]
        true = [label in labels for label in target]
        hits = sum(p and t for p, t in zip(predicted, true, strict=True))
        union = sum(p or t for p, t in zip(predicted, true, strict=True))
        iou[column] = hits / union if union else math.nan
        if hits:
            precision, recall = hits / sum(predicted), hits / sum(true)
            f_measure[column] = 2 * precision * recall / (precision + recall)
        else:
            f_measure[column] = 0 if union else math.nan
    return {"F": f_measure, "IoU": iou}


@given(seed=st.integers(0, 10**6), present=st.integers(1, 11), void=st.sampled_from([0, 0.3]))
def test_equals_the_definition(seed, present, void):
    maps = make_maps(seed, height=12, width=12, block=3, num_classes=11, present=present, void=void)
    counted = maps.target != VOID
    result = compute(maps.pred, maps.target, ignore_index=maps.ignore_index)
    reference = expected(maps.pred[counted].tolist(), maps.target[counted].tolist())
    for kind in ("F", "IoU"):
        assert list(result[kind]) == list(COLUMNS)
        assert result[kind] == pytest.approx(reference[kind], nan_ok=True)


@pytest.mark.parametrize("merged", [column for column, labels in COLUMNS.items() if len(labels) > 1])
def test_a_confusion_inside_a_merged_set_is_no_error(merged):
    target = torch.tensor([[sorted(COLUMNS[merged])]])
    result = compute(target.roll(1, dims=2), target)
    assert result["F"][merged] == result["IoU"][merged] == 1


def test_hair_and_background_have_no_column_but_count_as_errors():
    result = compute(torch.tensor([[[6, 6, 6, 10]]]), torch.tensor([[[6, 10, 0, 6]]]))
    assert result["F"]["nose"] == result["F"]["overall"] == pytest.approx(2 / 5)
    assert result["IoU"]["nose"] == result["IoU"]["overall"] == pytest.approx(1 / 4)


def test_overall_holds_neither_skin_nor_hair():
    result = compute(torch.tensor([[[1, 10, 6, 6]]]), torch.tensor([[[10, 1, 6, 6]]]))
    assert result["F"]["skin"] == 0
    assert result["F"]["overall"] == 1


@pytest.mark.parametrize("device", DEVICES)
def test_a_batch_counts_as_its_images_one_by_one(device):
    maps = make_maps(0, num_classes=11, present=11, void=0)
    scores = HelenFScores().to(device)
    for pred, target in zip(maps.pred.to(device), maps.target.to(device), strict=True):
        scores(pred.unsqueeze(0), target.unsqueeze(0))
    result = {kind: {name: value.item() for name, value in of.items()} for kind, of in scores.compute().items()}
    assert result == compute(maps.pred, maps.target)


def test_labels_that_helen_does_not_have_are_refused():
    labels = torch.tensor([[[0, 11]]])
    with pytest.raises(ValueError, match="pred holds the label 11, but the 11 classes are 0 to 10"):
        HelenFScores().update(labels, labels)
