"""Cut-outs of failures, from made-up results."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from spatialprop.callbacks import SaveFailures

HEIGHT, WIDTH = 96, 160


def result(name, length=0, grown=0, refines=True):
    """An image with an ignored border of so many cells of two pixels, and an error that grows by so many pixels."""
    label = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.int64)
    coarse, refined = label.clone(), label.clone()
    coarse[0, 80, 10] = refined[0, 80, 10 : 11 + grown] = 1
    missed = torch.zeros(1, HEIGHT // 2, WIDTH // 2)
    missed[0, 20, 30 : 30 + length] = 0.8
    missed[0, 40, 40:60] = 0.4  # too weak a tie
    outputs = {"labels": {"coarse": coarse, "refined": refined}, "missed_borders": missed}
    if not refines:
        del outputs["labels"]["refined"]
    image = torch.linspace(0, 1, WIDTH).expand(1, 3, HEIGHT, WIDTH)
    return outputs, {"name": [name], "image": image, "label": label}


def save(folder, results, count=2, rank=0):
    trainer = SimpleNamespace(global_rank=rank)
    callback = SaveFailures(folder, count)
    callback.on_test_epoch_start(trainer, None)
    for index, (outputs, batch) in enumerate(results):
        callback.on_test_batch_end(trainer, None, outputs, batch, index)
    callback.on_test_epoch_end(trainer, None)
    return sorted(path.name for path in folder.glob("*")) if folder.exists() else []


def test_the_worst_are_kept_worst_first(tmp_path):
    results = [result("a/b", 3, 9), result("c", 7), result("d", 5, 2), result("e", 0, 4)]
    assert save(tmp_path, results) == [
        "border_00_c.npz", "border_01_d.npz", "spread_00_a_b.npz", "spread_01_e.npz",
    ]  # fmt: skip
    with np.load(tmp_path / "spread_00_a_b.npz") as stored:
        assert (stored["size"], stored["before"]) == (9, 1)
        assert stored["where"].sum() == 10
        assert stored["image"].shape == (64, 64, 3)
        assert all(stored[name].shape == (64, 64) for name in ("label", "coarse", "refined", "missed", "where"))


def test_cut_outs_hold_the_failure_and_lie_in_the_image(tmp_path):
    save(tmp_path, [result("long", 48)])
    with np.load(tmp_path / "border_00_long.npz") as stored:
        assert stored["size"] == 96
        assert "before" not in stored
        assert stored["label"].shape == (96, 160)  # as large as the image, not twice the failure
        assert stored["where"].sum() == 2 * 96
        assert stored["missed"].max() == 204


def test_a_failure_along_an_elongated_image_is_not_cut_off(tmp_path):
    outputs, batch = result("wide")
    outputs = {"labels": {name: labels[:, :8] for name, labels in outputs["labels"].items()}}
    outputs["missed_borders"] = torch.zeros(1, 4, WIDTH // 2)
    outputs["missed_borders"][0, 2, 10:60] = 0.8
    batch |= {"image": batch["image"][..., :8, :], "label": batch["label"][:, :8]}
    save(tmp_path, [(outputs, batch)])
    with np.load(tmp_path / "border_00_wide.npz") as stored:
        assert stored["size"] == 100
        assert stored["where"].shape == (8, WIDTH)
        assert stored["where"].sum() == 2 * 100


def test_without_propagation_there_are_borders_only(tmp_path):
    assert save(tmp_path, [result("a", 3, 9, refines=False)]) == ["border_00_a.npz"]


@pytest.mark.parametrize("rank", [0, 1])
def test_nothing_is_written_where_nothing_fails_or_by_other_processes(rank, tmp_path):
    length = 5 * rank
    assert save(tmp_path / "failures", [result("a", length)], rank=rank) == []


def test_other_tasks_have_no_affinities(tmp_path):
    outputs, batch = result("a", 5, 5)
    del outputs["missed_borders"]
    assert save(tmp_path / "failures", [(outputs, batch)]) == []
