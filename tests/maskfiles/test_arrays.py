"""Arrays are read as the kind asked for, or refused; maps of probabilities keep the labels that they belong to."""

import zipfile

import numpy as np
import pytest
from PIL import Image

from spatialprop.errors import InputError
from spatialprop.maskfiles import Labels, Palette, Probabilities, read_coarse
from spatialprop.maskfiles.layouts import ArrayLayout
from tests.maskfiles.refined import Unchanged
from tests.refiner.networks import probabilities

BYTES = np.array([[0, 40, 90], [200, 130, 250]], np.uint8)
SHARES = (BYTES / 255).astype(np.float32)
BRIGHT = [[0, 0, 0], [1, 1, 1]]
FLOATS = ArrayLayout(np.dtype(np.float32))


@pytest.fixture
def read(tmp_path):
    def run(array, kind):
        np.save(tmp_path / "a.npy", array)
        return read_coarse(tmp_path / "a.npy", kind)

    return run


@pytest.mark.parametrize(
    ("array", "kind", "values"),
    [
        (BYTES, "labels", BYTES), (BYTES[None], "labels", BYTES), (BYTES > 100, "labels", BRIGHT),
        (BYTES, "alpha", np.stack([1 - SHARES, SHARES])), (BYTES[None], "alpha", np.stack([1 - SHARES, SHARES])),
        (SHARES, "alpha", np.stack([1 - SHARES, SHARES])), (SHARES.astype(np.float16), "mask", BRIGHT),
        (BYTES, "mask", BRIGHT), (BYTES[None], "mask", BRIGHT), (SHARES[None], "mask", BRIGHT),
        (BYTES > 100, "mask", BRIGHT), (BYTES.astype(">i8") * 200, "mask", BRIGHT),
        ((BYTES > 100).astype(np.int8), "mask", BRIGHT),
        (np.ones((2, 3), np.int64), "mask", np.ones((2, 3))), (np.full((2, 3), 7, np.int8), "mask", np.zeros((2, 3))),
    ],
)  # fmt: skip
def test_a_kind_that_fits_is_honoured(tmp_path, read, array, kind, values):
    coarse = read(array, kind)
    assert coarse.kind == kind
    np.testing.assert_allclose(coarse.values, values, atol=1e-3)
    coarse.write(tmp_path / "b.npy", Unchanged(coarse.values))
    stored = np.load(tmp_path / "b.npy")
    assert (stored.dtype, stored.shape) == (array.dtype, array.shape)
    if kind == "mask":
        assert len(np.unique(stored)) <= 2
        np.testing.assert_allclose((stored.min(), stored.max()), (array.min(), array.max()))
    else:
        np.testing.assert_allclose(stored.astype(float), array.astype(float), atol=1e-3)


@pytest.mark.parametrize(
    ("array", "kind", "message"),
    [
        (SHARES, "labels", r"float32 \(2, 3\), a soft mask, and not what --kind labels says: labels are integers"),
        (probabilities(4, 2, 3), "mask", r"float32 \(4, 2, 3\), probabilities \(K, h, w\), and not .* --kind mask"),
        (probabilities(4, 2, 3), "alpha", "leave --kind out"),
        (BYTES.astype(float), "auto", "a soft mask from 0 to 1; got values from 0 to 250: store labels as integers"),
        (SHARES * np.nan, "auto", "got values from nan to nan"),
        ((probabilities(4, 2, 3) * 255).astype(np.uint8), "labels", r"labels are integers \(H, W\)"),
        (BYTES.astype(np.int32), "alpha", r"int32 \(2, 3\), labels, .* a soft mask is floats .* or uint8 x 255"),
        (BYTES > 100, "alpha", "bool"),
        (BYTES, "colours", "colours are read from pictures"),
        (SHARES - 0.5, "mask", "a mask of float32 goes from 0 to 1; got values from -0.5 to 0.48"),
        (SHARES * np.nan, "mask", "got values from nan"),
        (BYTES.astype(np.int32) * 1000, "mask", "goes from 0 to 65535"),
        (np.zeros((0, 3), np.uint8), "mask", r"an array of shape \(0, 3\)"),
    ],
)
def test_a_kind_that_does_not_fit_is_refused(read, array, kind, message):
    with pytest.raises(InputError, match=rf"a\.npy: .*{message}"):
        read(array, kind)


# Which labels maps of probabilities belong to


def test_a_soft_mask_a_little_beyond_its_range(read):
    values = read(SHARES * np.float32(1.0005) - np.float32(1e-4), "auto").values
    assert values.min() >= 0
    np.testing.assert_allclose(values[1], SHARES, atol=1e-3)


@pytest.mark.parametrize("name", ["file", "allow_pickle", "args", "mine"])
def test_an_array_keeps_its_name(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive, archive.open(f"{name}.npy", "w") as file:
        np.lib.format.write_array(file, BYTES.astype(np.int32))
    coarse = read_coarse(tmp_path / "a.npz")
    coarse.write(tmp_path / "b.npz", Unchanged(coarse.values))
    with zipfile.ZipFile(tmp_path / "b.npz") as archive:
        assert archive.namelist() == [f"{name}.npy"]
    np.testing.assert_array_equal(read_coarse(tmp_path / "b.npz").values, BYTES)


@pytest.mark.parametrize(
    ("suffix", "values", "name"),
    [
        (".npy", BYTES.astype(np.int32), "labels"), (".npy", SHARES, "alpha"),
        (".npy", probabilities(4, 2, 3), "probs"),
        (".png", BYTES, "labels"), (".png", np.dstack([BYTES] * 3 + [np.uint8([[3, 90, 7], [8, 9, 255]])]), "alpha"),
    ],
)  # fmt: skip
def test_arrays_are_called_what_they_hold(tmp_path, suffix, values, name):
    path = tmp_path / f"a{suffix}"
    np.save(path, values) if suffix == ".npy" else Image.fromarray(values).save(path)
    coarse = read_coarse(path, "labels" if suffix == ".png" and name == "labels" else "auto")
    coarse.write(tmp_path / "b.npz", Unchanged(coarse.values))
    assert list(np.load(tmp_path / "b.npz")) == [name]
    again = read_coarse(tmp_path / "b.npz")
    assert again.kind == coarse.kind
    np.testing.assert_allclose(again.values, coarse.values, atol=1e-6)


def test_formats_that_cannot_hold_the_result_are_refused_at_once(tmp_path):
    many = Probabilities(np.full((300, 2, 3), 1 / 300, np.float32), FLOATS)
    with pytest.raises(InputError, match=r"\.webp holds no 16-bit values; write the result as a\.png"):
        many.check(tmp_path / "a.webp", (4, 6))
    many.check(tmp_path / "a.png", (4, 6))
    few = Labels(BYTES, ArrayLayout(BYTES.dtype))
    with pytest.raises(InputError, match=r"at most 16383 pixels a side; got 16384x4: write the result as a\.png"):
        few.check(tmp_path / "a.webp", (4, 16384))
    few.check(tmp_path / "a.webp", (4, 16383))


def test_a_palette_of_more_classes_than_a_picture_holds(tmp_path):
    palette = Palette(np.zeros((300, 3), np.uint8), ("",) * 300)
    coarse = Probabilities(np.eye(3, dtype=np.float32)[:, None], FLOATS, palette=palette)
    coarse.write(tmp_path / "a.png", Unchanged(coarse.values))
    with Image.open(tmp_path / "a.png") as picture:
        assert np.asarray(picture).tolist() == [[0, 1, 2]]


def test_maps_keep_the_labels_that_they_belong_to(tmp_path):
    np.savez(tmp_path / "a.npz", probs=probabilities(3, 4, 5), classes=np.array([0, 15, 65535]))
    coarse = read_coarse(tmp_path / "a.npz")
    assert coarse.classes.tolist() == [0, 15, 65535]
    coarse.write(tmp_path / "b.npz", Unchanged(coarse.values))
    coarse.write_probabilities(tmp_path / "c.npz", Unchanged(coarse.values))
    for name in "bc":
        assert np.load(tmp_path / f"{name}.npz")["classes"].tolist() == [0, 15, 65535]
    with pytest.raises(InputError, match=r"\.npy cannot hold; call the result b\.npz, or b\.png"):
        coarse.check(tmp_path / "b.npy", (4, 5))


@pytest.mark.parametrize("label", [0, 7])
def test_a_label_that_is_alone(tmp_path, label):
    np.savez(tmp_path / "a.npz", probs=np.ones((1, 4, 5), np.float32), classes=np.array([label]))
    coarse = read_coarse(tmp_path / "a.npz")
    assert coarse.kind == "probabilities"
    assert (coarse.labels((8, 10)) == label).all()
    assert len(set(coarse.classes.tolist())) == len(coarse.values) == 2


def test_other_arrays_may_call_anything_classes(tmp_path):
    np.savez(tmp_path / "a.npz", probs=SHARES, classes=np.array(["ground", "object"]))
    assert read_coarse(tmp_path / "a.npz").kind == "alpha"
    np.savez(tmp_path / "a.npz", labels=BYTES, classes=np.arange(4))
    assert read_coarse(tmp_path / "a.npz").kind == "labels"


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (
            [0, 1],
            r"`classes` must be 3 distinct integers from 0 to 65535, the label of each map; got int64 \(2,\): 0, 1",
        ),
        ([0, 1, 1], "got int64 .*: 0, 1, 1; correct them, or leave them out .* labels from 0 to 2"),
        ([[0, 1, 2]], "3 distinct integers"),
        ([0, 1, -1], "3 distinct integers"),
        ([0, 1, 65536], "3 distinct integers"),
        ([0.0, 1.0, 2.0], "got float64"),
        (["a", "b", "c"], "its `classes` cannot be used: it holds <U1"),
    ],
)
def test_classes_that_are_none(tmp_path, classes, message):
    np.savez(tmp_path / "a.npz", probs=probabilities(3, 4, 5), classes=np.array(classes))
    with pytest.raises(InputError, match=rf"a\.npz: .*{message}"):
        read_coarse(tmp_path / "a.npz")


@pytest.mark.parametrize("version", [b"\x01\x00", b"\x02\x00"])
def test_a_header_of_gigabytes_is_not_read(tmp_path, version):
    path = tmp_path / "a.npy"
    length = 60_000 if version == b"\x01\x00" else 3_500_000_000
    with path.open("wb") as file:
        file.write(b"\x93NUMPY" + version + length.to_bytes(2 if version == b"\x01\x00" else 4, "little") + b" " * 100)
        file.truncate(length)
    with pytest.raises(InputError, match=rf"a\.npy: its header claims {length} bytes"):
        read_coarse(path)


def test_an_archive_that_unpacks_to_more_than_the_memory_holds(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", probs=np.zeros((50, 100, 100), np.uint8))
    monkeypatch.setattr("spatialprop.memory.memory_left", lambda: 1_000_000)
    with pytest.raises(InputError, match=r"its shape \(50, 100, 100\) needs about .* store it at a lower resolution"):
        read_coarse(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["../../evil", "a b", "/etc/x", "", "x" * 99, "a\nb"])
def test_no_name_from_an_archive_gets_into_a_result_unless_it_is_one(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive, archive.open(f"{name}.npy", "w") as member:
        np.lib.format.write_array(member, np.eye(4, dtype=np.uint8))
    assert read_coarse(tmp_path / "a.npz").layout.key is None
