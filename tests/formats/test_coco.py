"""COCO annotations: refined in place, read back by COCO's own library, and bad ones refused."""

import copy
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from spatialprop.errors import InputError
from spatialprop.files import write_json
from spatialprop.formats.coco import _runs, read_coco, refine_coco

codec = pytest.importorskip("pycocotools.mask", reason="pip install 'spatialprop[coco]'")
library = pytest.importorskip("pycocotools.coco")
HEIGHT, WIDTH = 90, 120


def grow(image, mask):
    """Stands for a refiner: one pixel more to the right."""
    return np.maximum(mask, np.pad(mask, ((0, 0), (1, 0)))[:, :-1])


def run_lengths(mask, compressed=True):
    if compressed:
        found = codec.encode(np.asfortranarray(mask))
        return {"size": found["size"], "counts": found["counts"].decode()}
    flat = mask.ravel(order="F")
    runs = np.diff(np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1, [flat.size]])).tolist()
    return {"size": list(mask.shape), "counts": [0, *runs] if flat[0] else runs}


def box(top, left, bottom, right):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


CROWD = box(0, 0, 9, 9)


def content():
    return {
        "info": {"year": 2026},
        "images": [{"id": 7, "file_name": "a.png", "height": HEIGHT, "width": WIDTH, "license": 3}],
        "categories": [{"id": 2, "name": "thing"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 2, "iscrowd": 0, "bbox": [0, 0, 1, 1], "area": 1, "score": 0.5,
             "segmentation": [[10, 20, 40, 20, 40, 50, 10, 50]]},
            {"id": 2, "image_id": 7, "category_id": 2, "iscrowd": 0, "segmentation": run_lengths(box(30, 30, 60, 70))},
            {"id": 3, "image_id": 7, "category_id": 2, "iscrowd": 1, "segmentation": run_lengths(CROWD, False)},
            {"id": 4, "image_id": 7, "category_id": 2, "segmentation": run_lengths(box(0, 110, 9, 120), False)},
            {"id": 5, "image_id": 7, "category_id": 2, "bbox": [1, 2, 3, 4], "segmentation": []},
        ],
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a.png")
    return tmp_path


def test_its_own_library_reads_what_is_refined(folder):
    given, found = content(), content()
    (outcome,) = refine_coco(found, folder, grow)
    assert outcome[:3] == ("a.png", 3, 2)
    assert outcome.changed == 30 + 30
    write_json(folder / "refined.json", found)
    read = library.COCO(str(folder / "refined.json"))
    for number, expected in ((1, box(20, 10, 50, 41)), (2, box(30, 30, 60, 71)), (4, box(0, 110, 9, 120))):
        one = read.anns[number]
        np.testing.assert_array_equal(read.annToMask(one), expected)
        assert one["area"] == expected.sum()
        rows, columns = np.nonzero(expected)
        assert one["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
    for old, new in zip(given["annotations"], found["annotations"], strict=True):
        assert type(old["segmentation"]) is type(new["segmentation"])
        same = old.keys() - {"segmentation", "area", "bbox"}
        assert {key: old[key] for key in same} == {key: new[key] for key in same}
    assert found["annotations"][2] == given["annotations"][2]  # the crowd
    assert found["annotations"][4] == given["annotations"][4]  # a box without a mask
    assert {key: found[key] for key in ("info", "images", "categories")} == {
        key: given[key] for key in ("info", "images", "categories")
    }


def test_what_would_vanish_stays(folder):
    found = content()
    (outcome,) = refine_coco(found, folder, lambda image, mask: np.zeros_like(mask))
    assert (outcome.refined, outcome.kept, found) == (0, 5, content())


def test_an_object_is_refined_in_its_own_surroundings(folder):
    seen = []

    def look(image, mask):
        assert image.shape[:2] == mask.shape
        seen.append(mask.shape)
        return mask

    annotations = content()
    annotations["images"][0].update(width=1000, height=800)
    annotations["annotations"] = annotations["annotations"][:1]
    Image.new("RGB", (1000, 800)).save(folder / "a.png")
    list(refine_coco(annotations, folder, look))
    assert seen == [(50 + 48, 40 + 48)]  # cut at the edge of the image


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda it: it["images"][0].update(width=7), "120x90 pixels, the annotations say 7x90"),
        (lambda it: it["images"][0].update(file_name="b.png"), "b.png does not exist"),
        (lambda it: it["images"][0].update(file_name="../b.png"), "lies outside"),
        (lambda it: it["annotations"][0].update(segmentation=[[1, 2, 3, 4]]), "annotation 1 must be polygons"),
        (lambda it: it["annotations"][0].update(segmentation=[[1, 2, 3, 4, 5, float("nan")]]), "finite numbers"),
        (lambda it: it["annotations"][1]["segmentation"].update(size=[3, 4]), "of the size [90, 120]"),
        (lambda it: it["annotations"][1]["segmentation"].update(counts="zzz"), "run lengths"),
        (lambda it: it["annotations"][3]["segmentation"].update(counts=[5, 1 << 40]), "its image has 10800"),
    ],
)  # fmt: skip
def test_an_image_that_cannot_be_refined_stays_and_says_why(folder, change, words):
    given = content()
    change(given)
    found = copy.deepcopy(given)
    (outcome,) = refine_coco(found, folder, grow)
    assert words in outcome.problem
    assert json.dumps(found) == json.dumps(given)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1, 2", "cannot be read as COCO annotations"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "lists `images` and `annotations`"),
        ('{"images": [{}], "annotations": []}', "needs an id"),
        ('{"images": [{"id": 1, "file_name": "a", "height": 1.5, "width": 2}], "annotations": []}', "a height and"),
        ('{"images": [], "annotations": [{"id": 4, "image_id": 3}]}', "annotation 4 belongs to image 3"),
    ],
)
def test_files_that_hold_something_else_are_refused(tmp_path, text, words):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"a\.json") as error:
        read_coco(path)
    assert words in str(error.value)


@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(1, 30))
def test_compressed_run_lengths_are_read_as_by_the_library(seed, height, width):
    mask = np.asfortranarray(np.random.default_rng(seed).random((height, width)) < 0.5, np.uint8)
    text = codec.encode(mask)["counts"].decode()
    assert _runs(text) == run_lengths(mask, compressed=False)["counts"]


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
                    max_leaves=12))  # fmt: skip
def test_any_segmentation_is_refined_or_refused(tmp_path_factory, value):
    folder = tmp_path_factory.mktemp("fuzz")
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "a.png")
    for segmentation in (value, {"size": [HEIGHT, WIDTH], "counts": value}, [value]):
        found = content()
        found["annotations"][0]["segmentation"] = segmentation
        (outcome,) = refine_coco(found, folder, grow)
        assert outcome.refined or outcome.problem
