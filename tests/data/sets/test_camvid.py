"""CamVid as the SegNet tutorial has it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spatialprop.data import VOID, camvid
from spatialprop.data.sets.camvid import LABELS, CamVid
from tests.data.imitations import columns, save_image
from tests.data.tiny_folder import save_label


def write_camvid(root: Path) -> Path:
    """Columns of the classes 0 to 11, shifted by one from image to image."""
    for split, count in (("train", 3), ("val", 1), ("test", 2)):
        (root / f"{split}annot").mkdir(parents=True)
        for index in range(count):
            name = f"0001TP_{split}{index:03d}"
            save_image(root / split / f"{name}.png", index)
            save_label(root / f"{split}annot" / f"{name}.png", columns((np.arange(12) + index) % 12))
    return root


@pytest.fixture
def root(tmp_path):
    return write_camvid(tmp_path / "CamVid")


def test_eleven_classes_in_the_order_of_the_tutorial():
    assert ", ".join(LABELS.classes) == (
        "sky, building, pole, road, pavement, tree, sign, fence, car, pedestrian, bicyclist"
    )


def test_splits_labels_and_void(root):
    splits = camvid(root=str(root))
    assert [len(part) for part in splits] == [3, 1, 2]
    for index in range(3):
        expected = (np.arange(12) + index) % 12
        expected[expected == 11] = VOID
        np.testing.assert_array_equal(splits.train[index].label, columns(expected))
    assert splits.test.names == ["0001TP_test000", "0001TP_test001"]
    assert camvid(root=str(root), test_split="val").test.names == splits.val.names


def test_coarse_maps(root, tmp_path):
    (tmp_path / "coarse" / "train").mkdir(parents=True)
    np.save(tmp_path / "coarse" / "train" / "0001TP_train001.npy", np.full((11, 2, 3), 1 / 11))
    data = CamVid(root, "train", tmp_path / "coarse")
    assert data.without_coarse == ["0001TP_train000", "0001TP_train002"]
    assert data[1].coarse.shape == (11, 2, 3)


@pytest.mark.parametrize("value", [12, 255])
def test_a_label_that_is_no_class(root, value):
    save_label(root / "trainannot" / "0001TP_train000.png", columns([0, value]))
    with pytest.raises(ValueError, match=rf"train000\.png holds the label {value}; 'camvid' has the classes 0 to 10"):
        CamVid(root, "train")[0]


def test_the_colours_of_the_original_release(root):
    Image.new("RGB", (44, 30), (128, 64, 128)).save(root / "trainannot" / "0001TP_train000.png")
    with pytest.raises(ValueError, match="mode 'RGB'"):
        CamVid(root, "train")[0]


def test_what_is_missing_is_named(root, tmp_path):
    with pytest.raises(ValueError, match="train, val, test; got 'training'"):
        CamVid(root, "training")
    with pytest.raises(FileNotFoundError, match=r"nowhere/train does not exist; give the folder CamVid"):
        CamVid(tmp_path / "nowhere", "train")
    (root / "train" / "0001TP_train000.png").unlink()
    assert [path.name for path in CamVid(root, "train").unused] == ["0001TP_train000.png"]
    (root / "trainannot" / "0001TP_train001.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"trainannot/0001TP_train001\.png does not exist;"):
        CamVid(root, "train")
