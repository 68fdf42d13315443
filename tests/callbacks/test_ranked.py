"""The images that refinement helps most and least, found while testing and read again."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from spatialprop.callbacks import SaveRanked
from spatialprop.callbacks.ranked import ranked
from spatialprop.metrics import SegmentationScores
from spatialprop.report.run import read_kinds
from tests.tasks.tiny import LABELS, QUIET, TASKS, loader, make_trainer, sample

pytestmark = QUIET

KINDS = ("best", "median", "worst")
SIZE = (35, 42)


def mean_iou(predicted, label):
    scores = SegmentationScores(len(LABELS.classes), ignore_index=255, scored_classes=LABELS.scored_classes)
    scores.update(predicted[None], label[None])
    return scores.compute()["mIoU"].item()


def ranked_by_test(task, folder, images, count):
    trainer = make_trainer(SaveRanked(folder, count, LABELS))
    trainer.test(task, loader(1, SIZE, images), verbose=False)
    return read_kinds(folder, KINDS)


def test_best_median_and_worst(tmp_path):
    task = TASKS["refine"]().eval()
    found = ranked_by_test(task, tmp_path, images=7, count=2)
    gains = {}
    for index in range(7):
        given = sample(index, *SIZE)
        with torch.no_grad():
            refined = task(given["image"][None], given["coarse"][None])[0].argmax(0)
        gains[given["name"].replace("/", "_")] = mean_iou(refined, given["label"]) - mean_iou(
            given["coarse"].argmax(0), given["label"]
        )
    order = sorted(gains, key=lambda name: -gains[name])
    assert [name for name, _ in found["best"]] == order[:2]
    assert [name for name, _ in found["median"]] == order[2:4]
    assert [name for name, _ in found["worst"]] == order[:-3:-1]
    for examples in found.values():
        for name, arrays in examples:
            index = int(name.rpartition("_")[2])
            given = sample(index, *SIZE)
            assert arrays["gain"] == pytest.approx(gains[name])
            assert np.array_equal(arrays["label"], given["label"].numpy())
            assert np.array_equal(arrays["coarse"], given["coarse"].argmax(0).numpy())
            assert {"image", "refined", "method_oracle_8px"} <= arrays.keys()


def test_scores_are_those_of_a_test_without(tmp_path):
    results = []
    for callbacks in ([], [SaveRanked(tmp_path, 1, LABELS)]):
        torch.manual_seed(0)
        task = TASKS["refine"]()
        make_trainer(*callbacks).test(task, loader(1, SIZE, 4), verbose=False)
        for scores in task.results.values():
            scores.pop("milliseconds", None)
        results.append(task.results)
    assert results[0] == results[1]
    assert len(list(tmp_path.iterdir())) == 3


def test_what_an_earlier_test_left_goes(tmp_path):
    (tmp_path / "best_00_other.npz").write_bytes(b"")
    ranked_by_test(TASKS["refine"](), tmp_path, images=3, count=1)
    assert "best_00_other.npz" not in {path.name for path in tmp_path.iterdir()}


def test_a_task_without_refinement_has_no_ranking(tmp_path):
    assert ranked_by_test(TASKS["segment"](), tmp_path / "ranked", images=3, count=1) == {kind: [] for kind in KINDS}
    assert not (tmp_path / "ranked").exists()


def test_only_the_first_process_writes(tmp_path):
    SaveRanked(tmp_path, 2, LABELS).on_test_end(SimpleNamespace(global_rank=1), None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("images", "each"), [(0, 0), (2, 0), (3, 1), (8, 2), (9, 3), (50, 3)])
def test_no_image_twice(images, each):
    chosen = ranked({place: float(place % 5) for place in range(images)}, count=3)
    assert [len(places) for places in chosen.values()] == [each] * 3
    together = [place for places in chosen.values() for place in places]
    assert len(set(together)) == len(together)
