"""Cityscapes: ids become train ids by the official table."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spatialprop.data import VOID, cityscapes
from spatialprop.data.sets.cityscapes import LABELS, TRAIN_ID, Cityscapes
from tests.data.imitations import SIZE, columns, save_image
from tests.data.tiny_folder import save_label

CITIES = {"train": ["aachen", "zurich"], "val": ["frankfurt"], "test": ["berlin"]}


def write_cityscapes(root: Path) -> Path:
    """One image of each city, with stripes of all 34 ids."""
    for split, cities in CITIES.items():
        for city in cities:
            name = f"{city}_000000_000019"
            save_image(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", len(city))
            folder = root / "gtFine" / split / city
            folder.mkdir(parents=True)
            ids = columns(list(TRAIN_ID)) if split != "test" else np.zeros(SIZE, np.uint8)
            save_label(folder / f"{name}_gtFine_labelIds.png", ids)
            Image.fromarray(ids).convert("RGB").save(folder / f"{name}_gtFine_color.png")
            save_label(folder / f"{name}_gtFine_instanceIds.png", ids)
    return root


# The ids that are scored with their names, in the order of their train ids.
OFFICIAL = (
    "7 road, 8 sidewalk, 11 building, 12 wall, 13 fence, 17 pole, 19 traffic light, 20 traffic sign, 21 vegetation, "
    "22 terrain, 23 sky, 24 person, 25 rider, 26 car, 27 truck, 28 bus, 31 train, 32 motorcycle, 33 bicycle"
)


@pytest.fixture
def root(tmp_path):
    return write_cityscapes(tmp_path)


def label_of(root, city, split="train"):
    return root / "gtFine" / split / city / f"{city}_000000_000019_gtFine_labelIds.png"


def test_the_table_is_the_official_one():
    scored = [entry.split(" ", 1) for entry in OFFICIAL.split(", ")]
    assert list(TRAIN_ID) == list(range(34))
    assert {i: train for i, train in TRAIN_ID.items() if train != VOID} == {
        int(i): n for n, (i, _) in enumerate(scored)
    }
    assert list(LABELS.classes) == [name for _, name in scored]
    assert LABELS.ignore_index == VOID


def test_every_id_is_read_as_its_class(root):
    splits = cityscapes(root=str(root))
    assert splits.train.names == ["aachen_000000_000019", "zurich_000000_000019"]
    assert splits.val.names == splits.test.names == ["frankfurt_000000_000019"]
    by_column = np.array([TRAIN_ID[i] for i in range(34)])[np.arange(SIZE[1]) * 34 // SIZE[1]]
    np.testing.assert_array_equal(splits.train[1].label, np.tile(by_column, (SIZE[0], 1)))
    assert np.unique(splits.train[0].label).tolist() == [*range(19), VOID]


def test_labels_of_test_are_kept_back(root):
    assert (Cityscapes(root, "test")[0].label == VOID).all()


def test_coarse_maps(root, tmp_path):
    (tmp_path / "coarse" / "val").mkdir(parents=True)
    np.savez(tmp_path / "coarse" / "val" / "frankfurt_000000_000019.npz", probs=np.zeros((19, 4, 6), np.uint8))
    assert Cityscapes(root, "val", tmp_path / "coarse")[0].coarse.shape == (19, 4, 6)
    assert len(Cityscapes(root, "train", tmp_path / "coarse").without_coarse) == 2


@pytest.mark.parametrize("value", [34, 255])
def test_ids_that_do_not_exist(root, value):
    """255 is what train ids have for void: a file that was made into them before must not pass."""
    save_label(label_of(root, "aachen"), columns([7, value]))
    with pytest.raises(
        ValueError, match=rf"aachen.*_labelIds\.png holds the id {value}; .* 0 to 33.*train ids already"
    ):
        Cityscapes(root, "train")[0]


def test_missing_labels_and_a_wrong_root(root, tmp_path):
    label_of(root, "aachen").unlink()
    label_of(root, "zurich").unlink()
    with pytest.raises(FileNotFoundError, match=r"aachen.*_labelIds\.png does not exist \(1 missing besides\)"):
        Cityscapes(root, "train")
    with pytest.raises(
        FileNotFoundError, match=r"holds no <city>/\*_leftImg8bit\.png; unpack leftImg8bit_trainvaltest"
    ):
        Cityscapes(tmp_path / "elsewhere", "train")
    with pytest.raises(ValueError, match="train, val, test; got 'train_extra'"):
        Cityscapes(root, "train_extra")


def test_labels_without_an_image_are_told(root):
    next((root / "leftImg8bit" / "train" / "aachen").iterdir()).unlink()
    assert [path.name for path in Cityscapes(root, "train").unused] == ["aachen_000000_000019_gtFine_labelIds.png"]


def test_colours_are_not_taken_for_ids(root):
    path = label_of(root, "aachen")
    Image.open(path).convert("RGB").save(path)
    with pytest.raises(ValueError, match="mode 'RGB'"):
        Cityscapes(root, "train")[0]
