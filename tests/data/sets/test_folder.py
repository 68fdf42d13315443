"""Anybody's data set is read as it was written, or refused with the file's name and the fix."""

import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from spatialprop.data import VOID, ImageFolder, LabelSet, folder, read_label_set, synthetic
from spatialprop.data.label_files import read_coarse, read_label
from spatialprop.maskfiles import read_image, read_image_size
from tests.data.tiny_folder import eighth, save_label, write_tiny_folder

PETS = LabelSet("pets", ("background", "cat", "dog", "fish"), ignore_index=254)
SHARES = np.random.default_rng(0).dirichlet(np.ones(4), (5, 7)).transpose(2, 0, 1).astype(np.float32)  # (4, 5, 7)


@pytest.fixture
def root(tmp_path):
    return write_tiny_folder(tmp_path / "discs")


def refused(path, *words, error=ValueError):
    """The error must name the file and hold all the words."""
    return pytest.raises(error, match="".join(f"(?=.*{re.escape(str(word))})" for word in (path, *words)))


def refusal(attempt):
    """What it is refused with, "" if it is not; any other error is one too many."""
    try:
        attempt()
    except ValueError as error:
        return str(error)
    return ""


# Whole data sets


def test_reads_what_was_written(root):
    data = ImageFolder(root, ["train", "val"])
    assert data.names == [f"{split}_{index}" for split in ("train", "val") for index in range(4)]
    assert data.labels.classes == ("background", "disc 1", "disc 2", "disc 3")
    assert data.without_coarse == []
    assert len(data) == 8
    for index, name in enumerate(data.names):
        example = data[index]
        folder = root / name.split("_")[0]
        assert example.name == name
        assert (example.image.shape, example.image.dtype) == ((40, 56, 3), np.uint8)
        stored = np.asarray(Image.open(folder / "labels" / f"{name}.png"))
        np.testing.assert_array_equal(example.label, stored)
        assert VOID in example.label
        assert (example.coarse.shape, example.coarse.dtype) == ((4, 5, 7), np.uint8)
        inside = example.label != VOID
        agree = np.kron(example.coarse.argmax(0), np.ones((8, 8)))[inside] == example.label[inside]
        assert agree.mean() > 0.8
        np.testing.assert_allclose(example.coarse.sum(0, dtype=int), 255, atol=2)


def test_colours_come_as_rgb(tmp_path):
    Image.new("RGB", (3, 2), (200, 100, 50)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[1, 2].tolist() == [200, 100, 50]
    Image.new("L", (3, 2), 7).save(tmp_path / "b.png")
    assert read_image(tmp_path / "b.png")[1, 2].tolist() == [7, 7, 7]


def test_images_without_coarse_maps_are_told(root):
    (root / "val" / "coarse" / "val_2.npz").unlink()
    data = ImageFolder(root, ["val"])
    assert data.without_coarse == ["val_2"]
    assert data[2].coarse is None


def test_files_that_are_no_images_are_passed_over(root):
    for name in ("notes.txt", ".hidden.jpg", "Thumbs.db"):
        (root / "train" / "images" / name).write_bytes(b"no image")
    assert len(ImageFolder(root, ["train"])) == 4


def test_a_split_may_be_given_as_a_word(root):
    assert ImageFolder(root, "val").names == ImageFolder(root, ["val"]).names


def test_no_split(root):
    with refused(root, "give at least one split", "train, val"):
        ImageFolder(root, [])


def test_an_unknown_split_lists_those_that_exist(root):
    with refused(root / "tests" / "images", "train, val", error=FileNotFoundError):
        ImageFolder(root, ["tests"])


def test_a_split_without_images(root):
    for path in (root / "val" / "images").iterdir():
        path.unlink()
    with refused(root / "val" / "images", "holds no images", ".jpg", error=FileNotFoundError):
        ImageFolder(root, ["val"])


def test_a_missing_label(root):
    missing = root / "train" / "labels" / "train_1.png"
    missing.unlink()
    with refused(missing, "every image", "needs its label map", error=FileNotFoundError):
        ImageFolder(root, ["train"])


def test_two_images_of_one_name(root):
    twin = root / "val" / "images" / "val_0.webp"
    Image.new("RGB", (56, 40)).save(twin)
    with refused(twin, "val_0.jpg", "rename"):
        ImageFolder(root, ["val"])
    twin.unlink()
    with refused(root / "val", "rename"):
        ImageFolder(root, ["val", "val"])


def test_sizes_that_differ(root):
    label = root / "train" / "labels" / "train_0.png"
    save_label(label, np.zeros((40, 55), np.uint8))
    with refused(label, "train_0.jpg", "55x40", "56x40", "one size"):
        ImageFolder(root, ["train"])[0]


# dataset.json


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "Expecting"),
        ("[]", "must be an object with a list of class names"),
        ('"pets"', "must be an object"),
        ("{}", "lacks the key 'classes'"),
        ('{"classes": "cat"}', "list of class names"),
        ('{"classes": []}', "1 to 255 classes; got 0"),
        (json.dumps({"classes": [str(n) for n in range(256)]}), "1 to 255 classes; got 256"),
        ('{"classes": ["a", "b", "a"]}', "two classes called 'a'"),
        ('{"classes": ["a", "b"], "ignore_index": 1}', "ignore_index = 1 is the class 'b'; take a value of 2 or more"),
        ('{"classes": ["a", "b"], "ignore_index": "void"}', "not supported between"),
        ('{"classes": ["a", "b"], "scored_classes": [2]}', "indices from 0 to 1"),
        ('{"classes": ["a", "b"], "scored_classes": []}', "at least one"),
        ('{"classes": ["a", "b"], "scored_classes": ["a"]}', "invalid literal"),
        ('{"classes": ["a", "b"], "scored_classes": 1}', "not iterable"),
    ],
)
def test_a_dataset_json_that_makes_no_sense(tmp_path, content, words):
    path = tmp_path / "dataset.json"
    path.write_text(content)
    with refused(path, words):
        read_label_set(path)


def test_a_dataset_json_of_gigabytes(tmp_path):
    path = tmp_path / "dataset.json"
    with path.open("wb") as file:
        file.truncate(1 << 36)
    with refused(path, "bytes, at most"):
        read_label_set(path)


def test_a_missing_dataset_json(tmp_path):
    with refused(tmp_path / "dataset.json", '"classes": [', error=FileNotFoundError):
        ImageFolder(tmp_path, ["train"])


def test_dataset_json_may_leave_out_all_but_the_classes(tmp_path):
    path = tmp_path / "dataset.json"
    path.write_text('{"classes": ["Hund", "Käfer"]}', encoding="utf-8")
    labels = read_label_set(path)
    assert labels == LabelSet(tmp_path.name, ("Hund", "Käfer"))
    assert labels.scored == (0, 1)


# Labels


def test_the_ignore_value_becomes_void(tmp_path):
    save_label(tmp_path / "a.png", np.array([[0, 3, 254]], np.uint8))
    assert read_label(tmp_path / "a.png", PETS).tolist() == [[0, 3, VOID]]


def test_palette_labels_are_indices_not_colours(tmp_path):
    indices = np.arange(4, dtype=np.uint8).repeat(6).reshape(4, 6)
    save_label(tmp_path / "a.png", indices, palette=True)
    with Image.open(tmp_path / "a.png") as stored:
        assert stored.mode == "P"
        assert not np.array_equal(np.asarray(stored.convert("L")), indices)
    np.testing.assert_array_equal(read_label(tmp_path / "a.png", PETS), indices)


def test_one_bit_labels(tmp_path):
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "a.png")
    assert read_label(tmp_path / "a.png", PETS).tolist() == [[1, 0]]


@pytest.mark.parametrize("highest", [4, 253, 255])
def test_a_label_out_of_range(tmp_path, highest):
    path = tmp_path / "a.png"
    save_label(path, np.array([[0, highest]], np.uint8))
    with refused(path, f"the label {highest}", "'pets' has the classes 0 to 3", "ignore_index = 254", "dataset.json"):
        read_label(path, PETS)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_labels_stored_as_something_else(tmp_path, mode):
    path = tmp_path / "a.png"
    Image.new(mode, (3, 2)).save(path)
    with refused(path, repr(mode), "a grey or palette PNG of class indices"):
        read_label(path, PETS)


def test_labels_of_16_bits(tmp_path):
    Image.fromarray(np.array([[0, 3, 65535]], np.uint16)).save(tmp_path / "a.png")
    deep = LabelSet("deep", PETS.classes, ignore_index=65535)
    assert read_label(tmp_path / "a.png", deep).tolist() == [[0, 3, VOID]]
    with refused(tmp_path / "a.png", "the label 65535"):
        read_label(tmp_path / "a.png", PETS)


def test_an_image_and_its_label_on_their_side(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    labels = np.array([[0, 1, 2], [3, 0, 0]], np.uint8)
    for name, pixels in (("image.png", labels[..., None].repeat(3, axis=2)), ("label.png", labels)):
        Image.fromarray(pixels).save(tmp_path / name, exif=exif)
    upright = [[3, 0], [0, 1], [0, 2]]
    assert read_image(tmp_path / "image.png")[..., 0].tolist() == read_label(tmp_path / "label.png", PETS).tolist()
    assert read_label(tmp_path / "label.png", PETS).tolist() == upright
    assert read_image_size(tmp_path / "image.png") == (3, 2)


# Broken pictures


@pytest.mark.parametrize(("form", "read"), [("jpeg", read_image), ("png", read_image), ("png", "label")])
def test_cut_off_or_damaged_pictures_name_the_file(tmp_path, form, read):
    """Cut short it is refused; with a byte changed it is refused or read, but no other error comes out."""
    rng = np.random.default_rng(0)
    stored = io.BytesIO()
    pixels = rng.integers(0, 4, (24, 30, *[3] * (read is read_image)), dtype=np.uint8)
    Image.fromarray(pixels).save(stored, form)
    whole, path = stored.getvalue(), tmp_path / f"a.{form}"

    def attempt():
        return read(path) if read is read_image else read_label(path, PETS)

    for length in (0, 1, 10, len(whole) // 2, int(len(whole) * 0.8)):
        path.write_bytes(whole[:length])
        with refused(path, "cannot be read as", "replace it"):
            attempt()
    refusals = []
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        refusals.append(refusal(attempt))
    assert any(refusals)
    assert all(str(path) in words for words in refusals if words)


def test_a_picture_that_is_a_text(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_text("<html>not found</html>")
    with refused(path, "cannot be read as an image", "replace it"):
        read_image(path)


def test_images_of_16_bits_are_brought_to_8(tmp_path):
    Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16)).save(tmp_path / "a.tiff")
    assert read_image(tmp_path / "a.tiff")[..., 1].tolist() == [[0, 100, 255]]


# Coarse maps


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.uint8])
@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_coarse_maps_of_any_kind(tmp_path, dtype, suffix):
    path = tmp_path / f"a{suffix}"
    stored = np.rint(SHARES * 255).astype(dtype) if dtype == np.uint8 else SHARES.astype(dtype)
    np.savez(path, probs=stored) if suffix == ".npz" else np.save(path, stored)
    coarse = read_coarse(path, PETS)
    assert coarse.dtype == np.uint8
    np.testing.assert_allclose(coarse, SHARES * 255, atol=0.75)


def test_coarse_maps_as_indices(tmp_path):
    indices = SHARES.argmax(0).astype(np.uint8)
    save_label(tmp_path / "a.png", indices, palette=True)
    coarse = read_coarse(tmp_path / "a.png", PETS)
    np.testing.assert_array_equal(coarse, 255 * (np.arange(4)[:, None, None] == indices))
    save_label(tmp_path / "a.png", indices + 1)
    with refused(tmp_path / "a.png", "the label 4"):
        read_coarse(tmp_path / "a.png", PETS)


@pytest.mark.parametrize(
    ("probabilities", "words"),
    [
        (SHARES[:3], ["(3, 5, 7)", "'pets' needs (4, h, w)", "dataset.json"]),
        (SHARES[0], ["(5, 7)", "(4, h, w)"]),
        (SHARES[None], ["(1, 4, 5, 7)"]),
        (SHARES[:, :0], ["(4, 0, 7)"]),
        (SHARES * np.nan, ["nan", "from 0 to 1"]),
        (SHARES - 0.5, ["holds values from -0.", "softmax"]),
        (SHARES * 255, ["to 2", "from 0 to 1"]),
        (SHARES + np.inf, ["inf"]),
        ((SHARES * 255).astype(np.int64), ["int64", "floats from 0 to 1, or uint8 x 255"]),
        (SHARES.astype(object), ["holds object"]),
        (SHARES.astype(str), ["holds <U", "floats"]),
    ],
)
def test_coarse_maps_that_hold_no_probabilities(tmp_path, probabilities, words):
    path = tmp_path / "a.npz"
    np.savez(path, probs=probabilities)
    with refused(path, *words):
        read_coarse(path, PETS)


def test_an_npz_with_another_key(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, scores=SHARES)
    with refused(path, "no array `probs`", "np.savez_compressed(path, probs=...)"):
        read_coarse(path, PETS)


def test_a_missing_coarse_map(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.npz does not exist"):
        read_coarse(tmp_path / "a.npz", PETS)


def test_cut_off_or_damaged_coarse_maps_name_the_file(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "a.npz"
    np.savez_compressed(path, probs=SHARES)
    whole = path.read_bytes()
    for length in (0, 3, 40, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with refused(path, "cannot be read as a coarse map", "write it again"):
            read_coarse(path, PETS)
    refusals = []
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        refusals.append(refusal(lambda: read_coarse(path, PETS)))
    assert all(str(path) in words for words in refusals if words)


# Splits that configs name


def test_folder_tests_on_test_or_else_on_val(root):
    splits = folder(root=str(root))
    assert splits.test.names == splits.val.names == [f"val_{index}" for index in range(4)]
    write_tiny_folder(root, splits=("test",), images=2)
    assert folder(root=str(root)).test.names == ["test_0", "test_1"]
    joined = folder(root=str(root), train_splits=["train", "test"], test_splits=["val"])
    assert (len(joined.train), joined.test.names) == (6, joined.val.names)
    assert joined.labels.name == "discs"


def test_a_part_of_a_folder_is_a_data_set(root):
    part = folder(root=str(root.parent), part=root.name)
    assert part.train.names == folder(root=str(root)).train.names


@pytest.mark.parametrize("name", ["train", "val", "test"])
def test_synthetic_needs_an_image_for_each_split(name):
    counts = {"train": 1, "val": 1, "test": 1, name: 0}
    with pytest.raises(ValueError, match=rf"data\.{name} must be at least 1 image; got 0"):
        synthetic(**counts, size=[32, 32], seed=0)


def test_tiny_folder_is_the_same_each_time(root, tmp_path):
    again = write_tiny_folder(tmp_path / "again")
    for path in root.rglob("*.*"):
        if path.suffix != ".npz":  # which holds the time of writing
            assert path.read_bytes() == (again / path.relative_to(root)).read_bytes()
    assert eighth(np.zeros((9, 8), np.uint8), 2).shape == (2, 2, 1)
