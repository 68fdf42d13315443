"""Arrays hold what --kind says, or that is said; maps of probabilities belong to the labels that they came from."""

import numpy as np
import pytest

from spatialprop.refiner import InputError
from spatialprop.refiner.formats import read_coarse
from spatialprop.refiner.pictures import class_colours
from spatialprop.refiner.results import check_holds, write_probabilities, write_result
from tests.refiner.networks import probabilities

BYTES = np.array([[0, 40, 90], [200, 130, 250]], np.uint8)
SHARES = (BYTES / 255).astype(np.float32)
BRIGHT = [[0, 0, 0], [1, 1, 1]]


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
    write_result(tmp_path / "b.npy", coarse, coarse.values, class_colours())
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


def test_maps_keep_the_labels_that_they_belong_to(tmp_path):
    write_probabilities(tmp_path / "a.npz", probabilities(3, 4, 5), np.array([0, 15, 65535]))
    coarse = read_coarse(tmp_path / "a.npz")
    assert coarse.classes.tolist() == [0, 15, 65535]
    write_result(tmp_path / "b.npz", coarse, coarse.values / np.float32(255), class_colours())
    assert np.load(tmp_path / "b.npz")["classes"].tolist() == [0, 15, 65535]
    with pytest.raises(InputError, match=r"\.npy cannot hold; call the result b\.npz, or b\.png"):
        check_holds(tmp_path / "b.npy", coarse)


@pytest.mark.parametrize("label", [0, 7])
def test_a_label_that_is_alone(tmp_path, label):
    write_probabilities(tmp_path / "a.npz", np.ones((1, 4, 5), np.float32), np.array([label]))
    coarse = read_coarse(tmp_path / "a.npz")
    assert coarse.kind == "probabilities"
    assert (coarse.classes[coarse.values.argmax(axis=0)] == label).all()
    assert len(set(coarse.classes.tolist())) == len(coarse.values) == 2


def test_other_arrays_may_call_anything_classes(tmp_path):
    np.savez(tmp_path / "a.npz", probs=SHARES, classes=np.array(["ground", "object"]))
    assert read_coarse(tmp_path / "a.npz").kind == "alpha"
    np.savez(tmp_path / "a.npz", labels=BYTES, classes=np.arange(4))
    assert read_coarse(tmp_path / "a.npz").classes is None


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
