import io
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from spatialprop.data import LabelSet
from spatialprop.drawing import class_colours
from spatialprop.report.figures import draw_per_class, draw_training, draw_trimap
from spatialprop.report.pictures import (
    change_map,
    draw_affinity,
    draw_changes,
    draw_examples,
    draw_object_probability,
    error_map,
)
from tests.report.folders import CLASSES, arrays, scores

LABELS = LabelSet("four", tuple(CLASSES), ignore_index=255)
RED, GREEN, VIOLET, AMBER = [207, 34, 46], [45, 164, 78], [111, 66, 193], [212, 167, 44]


def titles(figure):
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def drawn(figure) -> np.ndarray:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return np.asarray(Image.open(buffer).convert("RGB"))


def test_errors_are_told_apart_and_void_is_none():
    label = np.array([[1, 1, 1, 1, 255, 2]], np.uint8)
    before = np.array([[0, 0, 1, 1, 0, 0]], np.uint8)
    after = np.array([[0, 1, 0, 1, 0, 3]], np.uint8)
    still, corrected, spoiled, right, void, other = error_map(label, before, after)[0].tolist()
    assert [still, corrected, spoiled, other] == [RED, GREEN, VIOLET, RED]
    assert len(set(right)) == 1
    assert void in ([255, 255, 255], [140, 140, 140])
    assert error_map(label, before)[0, :3].tolist() == [RED, RED, right]


def test_changes_are_told_apart_and_void_is_none():
    label = np.array([[1, 1, 1, 1, 255]], np.uint8)
    before = np.array([[0, 1, 0, 0, 0]], np.uint8)
    after = np.array([[1, 0, 2, 0, 1]], np.uint8)
    right, wrong, neither, unchanged, void = change_map(label, before, after)[0].tolist()
    assert [right, wrong, neither] == [GREEN, RED, AMBER]
    assert unchanged not in (GREEN, RED, AMBER)
    assert void in ([255, 255, 255], [140, 140, 140])


def test_a_sheet_of_changes_says_what_each_image_gained():
    examples = [("one", {**arrays(), "gain": np.array(-0.0312)}), ("without", arrays(1))]
    figure = draw_changes(examples, LABELS)
    assert titles(figure) == ["image", "ground truth", "coarse", "densecrf", "refined", "what changed"]
    assert [text.get_text() for text in figure.axes[-1].texts] == ["-3.1"]
    assert {"rightly changed", "wrongly changed", "wrong before and after"} <= set(legend(figure))
    picture = drawn(figure)
    for colour in (GREEN, RED, AMBER):
        assert (picture == colour).all(axis=-1).any()
    assert draw_changes([("without", arrays())], LABELS) is None


def test_a_sheet_has_a_row_for_each_image_and_a_column_for_each_mask():
    figure = draw_examples([("one", arrays()), ("t$w_o", arrays(1, 40, 20))], LABELS)
    assert titles(figure) == [
        "image", "ground truth", "coarse", "densecrf", "refined", "errors before", "errors after"
    ]  # fmt: skip
    assert len(figure.axes) == 14
    # Read line by line; the class that does not occur is left out.
    assert set(legend(figure)) == {"background", "<b>", "_cat", "void", "wrong", "corrected", "newly wrong"}
    picture = drawn(figure)
    for colour in (class_colours()[1], class_colours()[3], RED, GREEN, VIOLET):
        assert (picture == colour).all(axis=-1).any()


def test_a_run_that_refines_nothing_has_no_column_for_it():
    kept = {key: value for key, value in arrays().items() if key in ("image", "label", "coarse")}
    figure = draw_examples([("one", kept)], LABELS)
    assert titles(figure) == ["image", "ground truth", "coarse", "errors"]
    assert "corrected" not in legend(figure)


@pytest.mark.parametrize("key", ["image", "label", "coarse", "refined", "method_densecrf"])
def test_a_sheet_is_drawn_without_any_one_array(key):
    kept = {name: value for name, value in arrays().items() if name != key}
    drawn(draw_examples([("one", kept), ("whole", arrays(1)), ("empty", {})], LABELS))


def test_an_image_alone_is_a_sheet_without_legend():
    figure = draw_examples([("one", {"image": arrays()["image"]})], LABELS)
    assert titles(figure) == ["image"]
    assert not figure.legends


def test_labels_beyond_the_classes_are_drawn():
    kept = arrays()
    kept["coarse"][0, 0] = 9
    assert "_cat" in legend(draw_examples([("one", kept)], LABELS))


def test_object_probability_needs_both_maps():
    figure = draw_object_probability([("one", arrays()), ("two", {"image": arrays()["image"]})])
    assert titles(figure) == ["image", "1 - P(background), coarse", "1 - P(background), refined", "refined - coarse"]
    assert len(figure.axes) == 4 + 2  # one row and two colour bars
    assert draw_object_probability([("two", {"image": arrays()["image"]})]) is None


def test_affinity_is_red_where_positive_and_blue_where_negative():
    kept = arrays()
    kept["affinity"] = np.zeros((20, 30), np.float32)
    kept["affinity"][:, 20:], kept["affinity"][:, :5] = 0.5, -0.5
    plain = drawn(draw_affinity([("one", kept)]))
    red, blue = np.array([103, 0, 31]), np.array([5, 48, 97])  # the ends of RdBu
    for colour in (red, blue):
        assert (np.abs(plain.astype(int) - colour).max(axis=-1) <= 2).sum() > 1000
    assert draw_affinity([("one", {})]) is None


def test_an_affinity_of_nothing_is_drawn():
    drawn(draw_affinity([("one", arrays() | {"affinity": np.zeros((20, 30), np.float32)})]))
    one_pixel = {
        "image": np.zeros((1, 1, 3), np.uint8), "affinity": np.ones((1, 1), np.float32), "pixel": np.array([0, 0])
    }  # fmt: skip
    drawn(draw_affinity([("one", one_pixel)]))


def test_a_curve_for_each_method_that_has_one():
    figure = draw_trimap({"coarse": scores(0.7), "refined": scores(0.8), "oracle": {"mIoU": 1.0}})
    lines = figure.axes[0].get_lines()
    assert [list(line.get_xdata()) for line in lines] == [[1, 3, 20]] * 2
    np.testing.assert_allclose(lines[1].get_ydata(), [0.4, 0.5, 0.7])
    assert [text.get_text() for text in figure.axes[0].texts] == ["coarse", "refined"]
    assert draw_trimap({"oracle": {"mIoU": 1.0}}) is None


def test_names_of_equal_lines_do_not_overlap():
    figure = draw_trimap({name: scores(0.7) for name in ("coarse", "refined", "oracle", "densecrf")})
    figure.draw_without_rendering()
    boxes = sorted((text.get_window_extent() for text in figure.axes[0].texts), key=lambda box: box.y0)
    assert all(below.y1 <= above.y0 + 1 for below, above in pairwise(boxes))


def test_a_bar_for_each_class_that_occurs():
    figure = draw_per_class({"coarse": scores(0.7), "refined": scores(0.8), "oracle": {}}, LABELS)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["background", "<b>", "_cat"]
    np.testing.assert_allclose([bar.get_width() for bar in axes.patches], [0.7, 0.35, 0, 0.8, 0.4, 0])
    assert legend(figure) == ["coarse", "refined"]
    drawn(figure)
    assert draw_per_class({"oracle": {}}, LABELS) is None


def test_training_has_a_panel_for_losses_and_one_for_scores():
    steps = [float(step) for step in range(100)]
    curves = {
        "train/loss_step": (steps, [2.0] * 100),
        "val/loss": ([50.0], [1.0]),
        "val/coarse_mIoU": ([50.0], [0.7]),
        "val/refined_mIoU": ([50.0], [0.8]),
        "lr-Adam": (steps, steps),
    }
    losses, accuracy = draw_training(curves).axes
    assert [text.get_text() for text in losses.texts] == ["val", "train"]
    # Smoothing must not bend the ends of a curve.
    np.testing.assert_allclose(losses.get_lines()[1].get_ydata(), 2.0)
    assert [text.get_text() for text in accuracy.texts] == ["coarse", "refined"]
    assert draw_training({"lr-Adam": (steps, steps)}) is None
