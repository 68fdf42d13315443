"""Several data sets are trained on as one."""

import numpy as np
import pytest

from spatialprop.data import VOID, SyntheticShapes, folder, folders, mixed
from tests.data.tiny_folder import write_tiny_folder


@pytest.fixture
def parts(tmp_path):
    return {
        "discs": folder(root=str(write_tiny_folder(tmp_path / "discs", classes=3))),
        "pets": folder(root=str(write_tiny_folder(tmp_path / "pets", classes=4))),
    }


def test_every_class_keeps_a_place_of_its_own(parts):
    both = mixed(parts=parts)
    assert both.labels.classes[3:] == tuple(f"pets/{name}" for name in parts["pets"].labels.classes)
    assert len(both.train) == len(parts["discs"].train) + len(parts["pets"].train)
    assert len(set(both.train.names)) == len(both.train)
    for index, first, part in ((0, 0, parts["discs"].train), (len(parts["discs"].train), 3, parts["pets"].train)):
        one, original = both.train[index], part[0]
        assert one.name == both.train.names[index]
        counts = one.label != VOID
        assert (counts == (original.label != VOID)).all()
        assert (one.label[counts] == original.label[counts] + first).all()
        assert len(one.coarse) == 7
        assert (one.coarse[first : first + len(original.coarse)] == original.coarse).all()
        assert one.coarse.sum() == original.coarse.sum()
    with pytest.raises(IndexError):
        both.train[len(both.train)]


def test_scored_classes_are_those_of_each(parts):
    scored = mixed(parts=parts).labels.scored
    assert scored == (*parts["discs"].labels.scored, *(3 + index for index in parts["pets"].labels.scored))


def test_what_is_for_training_only_is_not_validated_on(parts):
    both = mixed(parts=parts, train_only=["pets"])
    assert len(both.val) == len(parts["discs"].val)
    assert len(both.train) > len(parts["discs"].train)
    assert both.val.labels == both.labels
    with pytest.raises(ValueError, match="dogs"):
        mixed(parts=parts, train_only=["dogs"])
    with pytest.raises(ValueError, match="leave one"):
        mixed(parts=parts, train_only=["discs", "pets"])


def test_labels_are_indices_still(parts):
    label = mixed(parts=parts).train[0].label
    assert label.dtype == np.uint8


def test_folders_side_by_side(tmp_path):
    for name, classes in (("discs", 3), ("pets", 4)):
        write_tiny_folder(tmp_path / name, classes=classes)
    both = folders(
        root=str(tmp_path), parts={"discs": {}, "pets": {"train_splits": ["train", "val"], "val_splits": ["train"]}},
        train_only=["pets"],
    )  # fmt: skip
    assert len(both.labels.classes) == 7
    discs, pets = folder(root=str(tmp_path / "discs")), folder(root=str(tmp_path / "pets"))
    assert list(both.train.names) == [
        *(f"discs/{name}" for name in discs.train.names),
        *(f"pets/{name}" for name in pets.train.names),
        *(f"pets/{name}" for name in pets.val.names),
    ]
    assert len(both.val) == len(discs.val)


def test_drawn_images_beside_folders(tmp_path):
    write_tiny_folder(tmp_path / "discs", classes=3)
    both = folders(root=str(tmp_path), parts={"discs": {}}, drawn=2)
    assert both.train.names[-2:] == ["drawn/" + name for name in SyntheticShapes("train", 2).names]
    assert both.train[len(both.train) - 1].coarse is None
    assert all(name.startswith("discs/") for name in [*both.val.names, *both.test.names])
