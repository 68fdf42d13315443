"""VOC 2012 with and without SBD, and what its evaluation server gets."""

import re
import tarfile

import numpy as np
import pytest
from PIL import Image

from spatialprop.data import VOC, VOID, voc
from spatialprop.data.sets.pairs import tolerate_missing
from spatialprop.data.sets.voc import LABELS
from spatialprop.data.tools.submission import check_predictions, write_submission
from tests.data.imitations import (
    SBD_CLASS,
    VOC_CLASS,
    VOC_TEST,
    VOC_TRAIN,
    VOC_VAL,
    outlined_square,
    save_voc_mask,
    write_sbd,
    write_segmentation_class_aug,
    write_voc,
)

EXTRA = ["2009_000777", "2009_000888"]  # what SBD labels and VOC's lists do not


@pytest.fixture
def root(tmp_path):
    return write_voc(tmp_path / "data")


@pytest.fixture
def folder(root):
    return root / "VOCdevkit" / "VOC2012"


def test_classes_and_colours_are_the_official_ones():
    names = dict(enumerate(LABELS.classes))
    assert len(names) == 21
    assert (names[0], names[1], names[8], names[15], names[20]) == (
        "background", "aeroplane", "cat", "person", "tvmonitor",
    )  # fmt: skip
    assert list(LABELS.classes[1:]) == sorted(LABELS.classes[1:])  # as VOC numbers them
    official = {
        0: (0, 0, 0),
        1: (128, 0, 0),
        2: (0, 128, 0),
        15: (192, 128, 128),
        20: (0, 64, 128),
        255: (224, 224, 192),
    }
    assert {value: tuple(LABELS.palette[value].tolist()) for value in official} == official


@pytest.mark.parametrize(
    ("split", "names"), [("train", VOC_TRAIN), ("val", VOC_VAL), ("trainval", [*VOC_TRAIN, *VOC_VAL])]
)
def test_official_lists_with_palette_indices_and_void(root, split, names):
    data = VOC(root, split)
    assert data.names == names
    for index, name in enumerate(names):
        np.testing.assert_array_equal(data[index].label, outlined_square(VOC_CLASS[name]))
        assert VOID in data[index].label
        assert data[index].image.shape == (30, 44, 3)


@pytest.mark.parametrize("kind", ["mat", "mat in root", "png", "png in VOC2012"])
def test_trainaug_is_train_and_sbd_without_val(root, folder, tmp_path, kind):
    sbd = {
        "mat": lambda: write_sbd(tmp_path / "sbd"),
        "mat in root": lambda: write_sbd(root) and None,
        "png": lambda: write_segmentation_class_aug(tmp_path / "masks"),
        "png in VOC2012": lambda: write_segmentation_class_aug(folder / "SegmentationClassAug") and None,
    }[kind]()
    data = VOC(root, "trainaug", sbd)
    assert data.names == VOC_TRAIN + EXTRA
    for example in map(data.__getitem__, range(4)):
        if example.name in EXTRA:
            value = SBD_CLASS[example.name]
            np.testing.assert_array_equal(example.label, np.where(outlined_square(value) == value, value, 0))
        else:  # the official mask, not SBD's of the same image
            np.testing.assert_array_equal(example.label, outlined_square(VOC_CLASS[example.name]))


def test_pictures_in_the_root_are_not_taken_for_masks(root):
    save_voc_mask(root / "2009_000777.png", outlined_square(1))
    with pytest.raises(FileNotFoundError, match=r"no masks of SBD in .*get sbd --to DIR.*SegmentationClassAug"):
        VOC(root, "trainaug")


def test_test_images_have_no_labels(root):
    data = VOC(root, "test")
    assert data.names == VOC_TEST
    assert (data[0].label == VOID).all()
    assert data[0].label.shape == (25, 40)


def test_splits_of_the_config(root):
    splits = voc(root=str(root))
    assert (splits.train.names, splits.val.names, splits.test.names) == (VOC_TRAIN, VOC_VAL, VOC_VAL)
    assert voc(root=str(root), test_split="test").test.names == VOC_TEST
    assert splits.labels is LABELS


def test_coarse_maps_are_found_by_the_official_list(root, tmp_path):
    write_sbd(root)
    for split, name in (("train", "2007_000039"), ("train", EXTRA[0]), ("val", "2007_000033"), ("test", VOC_TEST[0])):
        (tmp_path / "coarse" / split).mkdir(parents=True, exist_ok=True)
        np.savez(tmp_path / "coarse" / split / f"{name}.npz", probs=np.full((21, 4, 6), 12, np.uint8))
    missing = {
        split: VOC(root, split, coarse=tmp_path / "coarse").without_coarse
        for split in ("train", "trainaug", "val", "trainval", "test")
    }
    assert missing == {
        "train": ["2007_000032"],
        "trainaug": ["2007_000032", EXTRA[1]],
        "val": ["2008_000123"],
        "trainval": ["2007_000032", "2008_000123"],
        "test": [],
    }
    assert VOC(root, "train", coarse=tmp_path / "coarse")[1].coarse.shape == (21, 4, 6)


def test_a_folder_of_coarse_maps_that_is_not_there(root, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data\.coarse = .*nowhere is no folder; .*data predict"):
        VOC(root, "train", coarse=tmp_path / "nowhere")


# What is wrong is named


@pytest.mark.parametrize("part", ["JPEGImages/2007_000039.jpg", "SegmentationClass/2007_000039.png"])
def test_a_missing_file(root, folder, part):
    (folder / part).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{part} does not exist; .*spatialprop data check"):
        VOC(root, "train")
    with tolerate_missing():
        data = VOC(root, "train")
    example, problems = data.inspect(1)
    assert example is None
    assert len(problems) == 1
    assert re.search(rf"{part} does not exist", problems[0])
    assert data.inspect(0)[1] == []


def test_a_mask_in_colours_is_refused(root, folder):
    path = folder / "SegmentationClass" / "2007_000032.png"
    Image.open(path).convert("RGB").save(path)
    with pytest.raises(ValueError, match=r"2007_000032\.png: it is stored in mode 'RGB'.*write the indices"):
        VOC(root, "train")[0]


def test_a_mask_of_another_size(root, folder):
    save_voc_mask(folder / "SegmentationClass" / "2007_000032.png", outlined_square(1, (30, 43)))
    with pytest.raises(ValueError, match=r"2007_000032\.png is 43x30 but its image .* is 44x30"):
        VOC(root, "train")[0]


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "no GTcls"])
def test_a_damaged_mask_of_sbd(root, tmp_path, damage):
    write_sbd(root)
    path = root / "benchmark_RELEASE" / "dataset" / "cls" / "2009_000777.mat"
    whole = path.read_bytes()
    if damage == "no GTcls":
        from scipy.io import savemat

        savemat(path, {"GTinst": np.zeros((2, 2))})
    else:
        path.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "text": b"<html>" * 100}[damage])
    with pytest.raises(ValueError, match=r"2009_000777\.mat cannot be read as a mask of SBD .*; replace it"):
        VOC(root, "trainaug")[2]


def test_a_missing_mask_of_sbd(root):
    write_sbd(root)
    (root / "benchmark_RELEASE" / "dataset" / "cls" / "2009_000777.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"2009_000777\.mat does not exist"):
        VOC(root, "trainaug")


def test_no_devkit_no_list_and_no_such_split(root, folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"ImageSets/Segmentation does not exist; .*data get voc"):
        VOC(tmp_path / "elsewhere", "train")
    with pytest.raises(ValueError, match=r"train, val, trainval, trainaug, test; got 'train_aug'"):
        VOC(root, "train_aug")
    (folder / "ImageSets" / "Segmentation" / "test.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"test\.txt does not exist; .*VOC2012test\.tar"):
        VOC(root, "test")


# The evaluation server


@pytest.fixture
def predictions(tmp_path):
    (tmp_path / "predictions").mkdir()
    Image.fromarray(np.full((25, 40), 20, np.uint8)).save(tmp_path / "predictions" / f"{VOC_TEST[0]}.png")
    return tmp_path / "predictions"


def test_results_as_the_server_takes_them(root, predictions, tmp_path):
    archive = write_submission(root, predictions, tmp_path / "to")
    path = f"results/VOC2012/Segmentation/comp6_test_cls/{VOC_TEST[0]}.png"
    with Image.open(tmp_path / "to" / path) as picture:
        assert picture.mode == "P"
        assert (np.asarray(picture) == 20).all()
        assert picture.convert("RGB").getpixel((0, 0)) == (0, 64, 128)
    with tarfile.open(archive, "r:gz") as tar:
        assert tar.getnames() == [path]
        assert tar.extractfile(path).read() == (tmp_path / "to" / path).read_bytes()
        assert (tar.getmember(path).uid, tar.getmember(path).uname) == (0, "")
    assert archive.name == "results.tgz"
    again = write_submission(root, predictions, tmp_path / "to", "comp5")
    with tarfile.open(again) as tar:
        assert tar.getnames() == [path.replace("comp6", "comp5")]


def test_everything_that_the_server_would_refuse_is_told(root, folder, predictions, tmp_path):
    (folder / "ImageSets" / "Segmentation" / "test.txt").write_text("2008_000006\n2007_000032\n2007_000039\n")
    Image.fromarray(np.full((30, 44), 255, np.uint8)).save(predictions / "2007_000032.png")
    Image.new("RGB", (44, 30)).save(predictions / "2008_999999.png")
    Image.fromarray(np.zeros((40, 25), np.uint8)).save(predictions / "2008_000006.png")
    problems = check_predictions(root, predictions)
    assert len(problems) == 4
    told = "\n".join(problems)
    for words in (
        "2007_000039.png does not exist",
        "2008_999999.png is no image of test.txt",
        "2008_000006.png is 25x40, its image is 40x25",
        "2007_000032.png holds the label 255; classes are 0 to 20, without void",
    ):
        assert words in told
    with pytest.raises(ValueError, match="4 problems with"):
        write_submission(root, predictions, tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_results_in_colours_and_leftovers_are_refused(root, predictions, tmp_path):
    path = predictions / f"{VOC_TEST[0]}.png"
    whole = path.read_bytes()
    Image.new("RGB", (40, 25)).save(path)
    assert "mode 'RGB'" in check_predictions(root, predictions)[0]
    path.write_bytes(whole)
    write_submission(root, predictions, tmp_path / "to")
    stray = tmp_path / "to" / "results" / "VOC2012" / "Segmentation" / "comp6_test_cls" / "other.png"
    stray.write_bytes(whole)
    with pytest.raises(ValueError, match=r"holds 'other\.png', which is no result"):
        write_submission(root, predictions, tmp_path / "to")
    assert check_predictions(root, tmp_path / "nowhere") != []
