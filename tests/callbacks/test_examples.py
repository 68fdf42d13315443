"""What a report shows of single images, written while testing and read again."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spatialprop.callbacks import SaveExamples
from spatialprop.callbacks.examples import pixel_to_show, telling_pixel
from spatialprop.data import VOID
from spatialprop.report.run import read_run
from tests.tasks.tiny import QUIET, TASKS, loader, make_trainer, sample

pytestmark = QUIET

KEPT = {"image", "label", "coarse", "method_oracle_8px"}


def examples_of(task, folder, count=2, background=0):
    callback = SaveExamples(folder / "examples", count, background)
    make_trainer(callback).test(task, loader(1, (35, 42)), verbose=False)
    return read_run(folder).examples


def as_bytes(shares):
    return (shares * 255).round().byte().numpy()


def test_refined_images_come_with_all_that_a_report_shows(tmp_path):
    task = TASKS["refine"](baselines={"most_likely": lambda image, probabilities: probabilities.argmax(0)}).eval()
    examples = examples_of(task, tmp_path)
    assert [name for name, _ in examples] == ["shapes_0", "shapes_1"]
    for index, (_, arrays) in enumerate(examples):
        refined_too = {"refined", "method_most_likely", "coarse_object", "refined_object", "pixel", "affinity"}
        assert arrays.keys() == KEPT | refined_too
        given = sample(index, 35, 42)
        with torch.no_grad():
            refined = task(given["image"][None], given["coarse"][None])[0].exp()
        assert np.array_equal(arrays["image"], as_bytes(given["image"]).transpose(1, 2, 0))
        assert np.array_equal(arrays["label"], given["label"].numpy())
        assert np.array_equal(arrays["coarse"], given["coarse"].argmax(0).numpy())
        assert np.array_equal(arrays["method_most_likely"], arrays["coarse"])
        assert np.array_equal(arrays["coarse_object"], as_bytes(1 - given["coarse"][0]))
        assert np.abs(arrays["refined_object"].astype(int) - as_bytes(1 - refined[0])).max() <= 1
        assert {arrays[key].dtype for key in arrays.keys() - {"pixel", "affinity"}} == {np.dtype(np.uint8)}
        pixel = tuple(arrays["pixel"].tolist())
        assert pixel == pixel_to_show(arrays["label"], arrays["coarse"], arrays["refined"], 0)
        expected = task.network.affinity(given["image"][None], given["coarse"][None], pixel)
        np.testing.assert_allclose(arrays["affinity"], expected.numpy(), atol=1e-5)


def test_tasks_without_affinity_are_shown_without(tmp_path):
    for _, arrays in examples_of(TASKS["segment"](), tmp_path):
        assert arrays.keys() == KEPT | {"coarse_object"}


def test_joint_tasks_show_what_a_pixel_listens_to(tmp_path):
    task = TASKS["joint"]().eval()
    for index, (_, arrays) in enumerate(examples_of(task, tmp_path)):
        assert arrays.keys() == KEPT | {"refined", "coarse_object", "refined_object", "pixel", "affinity"}
        pixel = tuple(arrays["pixel"].tolist())
        assert pixel == pixel_to_show(arrays["label"], arrays["coarse"], arrays["refined"], 0)
        expected = task.network.affinity(sample(index, 35, 42)["image"][None], pixel)
        np.testing.assert_allclose(arrays["affinity"], expected.numpy(), atol=1e-5)


def test_no_more_than_asked_for(tmp_path):
    assert [name for name, _ in examples_of(TASKS["segment"](), tmp_path, count=1)] == ["shapes_0"]
    assert len(list((tmp_path / "examples").iterdir())) == 1


def test_without_a_background_there_is_no_object_probability(tmp_path):
    for _, arrays in examples_of(TASKS["refine"](), tmp_path, background=None):
        assert not {"coarse_object", "refined_object"} & arrays.keys()
        shown = pixel_to_show(arrays["label"], arrays["coarse"], arrays["refined"], None)
        assert tuple(arrays["pixel"].tolist()) == shown


def test_only_the_first_process_writes(tmp_path):
    second = SimpleNamespace(global_rank=1)
    SaveExamples(tmp_path, 2).on_test_batch_end(second, None, {"labels": {}}, {}, 0)
    assert not list(tmp_path.iterdir())


def depth_of(label, background):
    """How far each pixel is from where its object or the image ends, found by looking at every pixel. (H, W)"""
    height, width = label.shape
    around = [(i, j) for i in range(-1, height + 1) for j in range(-1, width + 1)]
    depth = np.zeros(label.shape)
    for i, j in np.ndindex(label.shape):
        if label[i, j] in (background, VOID):
            continue
        depth[i, j] = min(
            np.hypot(i - k, j - m)
            for k, m in around
            if not (0 <= k < height and 0 <= m < width) or label[k, m] != label[i, j]
        )
    return depth


@st.composite
def label_maps(draw):
    generator = np.random.default_rng(draw(st.integers(0, 2**16)))
    height, width, block = (draw(st.integers(1, most)) for most in (9, 9, 4))
    values = np.array([0, 0, 1, 2, VOID], np.uint8)
    cells = generator.choice(values[: draw(st.integers(1, 5))], (-(-height // block), -(-width // block)))
    return cells.repeat(block, 0).repeat(block, 1)[:height, :width]


@given(label_maps(), st.sampled_from([0, 1, None]))
def test_telling_pixel_lies_deepest_inside_an_object(label, background):
    depth = depth_of(label, background)
    pixel = telling_pixel(label, background)
    assert depth[pixel] == pytest.approx(depth.max(), abs=1e-5)
    if not depth.any():
        assert pixel == (label.shape[0] // 2, label.shape[1] // 2)


def test_telling_pixel_of_an_object_at_the_border():
    label = np.zeros((20, 20), np.uint8)
    label[13:, :7] = 3
    assert telling_pixel(label) == (16, 3)


def test_telling_pixel_of_an_outlined_object():
    label = np.zeros((21, 21), np.uint8)
    label[3:18, 3:18] = VOID
    label[5:16, 5:16] = 1
    assert telling_pixel(label) == (10, 10)


def test_what_was_mended_is_shown_rather_than_what_was_right():
    label = np.zeros((20, 30), np.uint8)
    label[2:18, 2:12] = 1
    label[8:11, 15:28] = 2
    coarse = np.where(label == 2, 0, label).astype(np.uint8)
    row, column = pixel_to_show(label, coarse, label, 0)
    assert label[row, column] == 2
    assert pixel_to_show(label, label, label, 0) == telling_pixel(label)  # nothing was mended


def test_telling_pixel_of_a_line():
    label = np.zeros((20, 20), np.uint8)
    label[4, 2:9] = 1
    row, column = telling_pixel(label)
    assert label[row, column] == 1
