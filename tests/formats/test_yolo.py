"""YOLO's text files: refined line by line, drawn as YOLO's own tools draw them, and bad ones refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from spatialprop.errors import InputError
from spatialprop.formats import refine_yolo
from tests.refiner.networks import errors_that_name

cv2 = pytest.importorskip("cv2")  # what YOLO's tools draw polygons with
HEIGHT, WIDTH = 90, 120


@pytest.fixture
def photo(tmp_path):
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def refined(photo, text, refine):
    labels, output = photo.with_suffix(".txt"), photo.parent / "out" / "a.txt"
    labels.write_text(text)
    outcome = refine_yolo(photo, labels, output, refine)
    return outcome, output.read_text().splitlines()


def drawn(line):
    corners = np.array(line.split()[1:], float).reshape(-1, 2) * (WIDTH, HEIGHT) - 0.5
    return cv2.fillPoly(np.zeros((HEIGHT, WIDTH), np.uint8), [np.rint(corners).astype(np.int32)], 1)


def test_polygons_are_refined_and_boxes_stay(photo):
    target = np.zeros((HEIGHT, WIDTH), np.uint8)
    target[22:50, 12:41] = 1
    target[30:36, 20:30] = 0
    box = "3 0.5 0.5 0.25 0.125"
    windows = []

    def refine(image, mask):
        windows.append(mask)
        return target[: mask.shape[0], : mask.shape[1]]  # the window begins at the corner

    outcome, lines = refined(photo, f"2 0.1 0.25 0.3 0.25 0.3 0.5 0.1 0.5\n{box}\n", refine)
    assert outcome[:2] == (1, 1)
    assert lines[1] == box
    assert lines[0].startswith("2 ")
    rows, columns = np.nonzero(windows[0])
    assert (np.ptp(rows), np.ptp(columns)) == (22, 24)
    wrong = (drawn(lines[0]) != target).sum()
    assert wrong <= 2 * (10 + 6) + 8  # the line around the hole, and that to it, are drawn


@given(st.integers(0, 2**32))
def test_whole_objects_come_back_to_the_pixel(tmp_path_factory, seed):
    folder = tmp_path_factory.mktemp("yolo")
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "a.png")
    random = np.random.default_rng(seed)
    target = np.zeros((HEIGHT, WIDTH), np.uint8)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    for radius in random.uniform(8, 18, 3):
        row, column = random.uniform(30, 60), random.uniform(40, 80)
        target[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = 1
    whole = "0 0 0 1 0 1 1 0 1"
    _, (line,) = refined(folder / "a.png", whole, lambda image, mask: target)
    assert (drawn(line) != target).sum() <= 0.02 * target.sum() + 8


def test_what_would_vanish_stays(photo):
    line = "2 0.1 0.25 0.3 0.25 0.3 0.5"
    assert refined(photo, line, lambda image, mask: mask * 0)[1] == [line]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 0.1 0.2 0.3\n", "line 1 must be a class and x y"),
        ("0 0.1 0.2 0.3 0.4 0.5 0.6\n-1 0.1 0.2 0.3 0.4 0.5 0.6\n", "line 2 must be a class"),
        ("0 10 20 30 40 50 60\n", "line 1 must hold shares"),
        ("0 0.1 0.2 nan 0.4 0.5 0.6\n", "line 1 must hold shares"),
        ("0 0.1 0.2 x 0.4 0.5 0.6\n", "line 1 must hold shares"),
        ("0 0.1 0.2 ü\n", "cannot be read as YOLO labels"),
    ],
)
def test_bad_lines_are_refused(photo, text, words):
    with pytest.raises(InputError, match=r"a\.txt") as error:
        refined(photo, text, lambda image, mask: mask)
    assert words in str(error.value)
    assert not (photo.parent / "out").exists()


@given(st.text(alphabet="0123456789.-e \nnaif", max_size=60))
def test_any_text_is_refined_or_refused(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("fuzz")
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "a.png")
    with errors_that_name("a.txt"):
        refined(folder / "a.png", text, lambda image, mask: mask)
