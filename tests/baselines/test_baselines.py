"""What the refinement is compared with does what its name says."""

import sys

import numpy as np
import pytest

from spatialprop import baselines
from spatialprop.baselines import DenseCRF, GuidedFilter

NEEDS_CRF = pytest.mark.skipif("densecrf" not in baselines.installed(), reason="needs pydensecrf2")
MENDERS = [pytest.param("densecrf", marks=NEEDS_CRF), "guided_filter"]


def ragged(classes=3, size=(64, 80)):
    """A bright half beside a dark one, and probabilities whose border runs in steps around the true one."""
    height, width = size
    rng = np.random.default_rng(0)
    label = np.tile(np.arange(width) >= width // 2, (height, 1)).astype(int)
    image = (60 + 130 * label[..., None] + rng.normal(0, 4, (*size, 3))).clip(0, 255).astype(np.uint8)
    steps = np.repeat(rng.integers(-6, 7, height // 8), 8)[:, None]
    second = 1 / (1 + np.exp(-(np.arange(width) - width // 2 - steps) / 3.0))
    probabilities = np.full((classes, *size), 0.02, np.float32)
    probabilities[0], probabilities[1] = 1 - second, second
    return image, (probabilities / probabilities.sum(0)).astype(np.float32), label


@pytest.mark.parametrize("name", MENDERS)
def test_mends_a_ragged_border(name):
    image, probabilities, label = ragged()
    before = (probabilities.argmax(0) != label).mean()
    mended = baselines.make(name)(image, probabilities)
    assert mended.shape == label.shape
    assert np.issubdtype(mended.dtype, np.integer)
    assert before > 0.03
    assert (mended != label).mean() < before / 3


@pytest.mark.parametrize("name", MENDERS)
def test_leaves_its_input_alone_and_repeats_itself(name):
    image, probabilities, _ = ragged()
    before = image.copy(), probabilities.copy()
    mend = baselines.make(name)
    np.testing.assert_array_equal(mend(image, probabilities), mend(image, probabilities))
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(probabilities, before[1])


@pytest.mark.parametrize("name", MENDERS)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (5, 3), (40, 8)])
def test_small_images_and_views(name, size):
    image, probabilities, _ = ragged()
    view = np.s_[: size[0], 36 : 36 + size[1]]
    mended = baselines.make(name)(image[view], probabilities[(slice(None), *view)])
    assert mended.shape == size
    assert set(np.unique(mended)) <= {0, 1}


@NEEDS_CRF
def test_densecrf_lets_no_class_out_that_was_nowhere_the_most_likely():
    """Even if the image speaks for it: the third class is a close second in a region of a colour of its own."""
    image, probabilities, _ = ragged(classes=5)
    image[20:40, 10:30] = (250, 0, 0)
    probabilities[3, 20:40, 10:30] = probabilities[0, 20:40, 10:30] - 1e-3
    present = set(np.unique(probabilities.argmax(0)))
    assert present == {0, 1}
    assert set(np.unique(DenseCRF()(image, probabilities))) == present


@NEEDS_CRF
@pytest.mark.parametrize("winner", [0, 2])
def test_densecrf_on_one_class(winner):
    probabilities = np.full((3, 6, 7), 0.1, np.float32)
    probabilities[winner] = 0.8
    assert (DenseCRF()(np.zeros((6, 7, 3), np.uint8), probabilities) == winner).all()


@NEEDS_CRF
def test_densecrf_gives_the_classes_their_own_numbers_back():
    image, probabilities, label = ragged(classes=5)
    mended = DenseCRF()(image, probabilities[[2, 0, 3, 4, 1]])  # class 0 is now 1, and class 1 is 4
    assert (mended == np.where(label == 0, 1, 4)).mean() > 0.98


def test_densecrf_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    with pytest.raises(ImportError, match=r"needs pydensecrf2: pip install 'spatialprop\[densecrf\]'"):
        baselines.make("densecrf")


def test_what_is_installed_can_be_made(monkeypatch):
    for name in baselines.installed():
        baselines.make(name)
    monkeypatch.setattr(baselines, "find_spec", lambda _: None)
    assert baselines.installed() == []


def test_an_unknown_baseline_lists_those_that_exist():
    with pytest.raises(ValueError, match="unknown baseline 'crf'; choose from densecrf, guided_filter"):
        baselines.make("crf")


def test_guided_filter_keeps_what_a_flat_image_cannot_mend():
    _, probabilities, _ = ragged()
    grey = np.full((*probabilities.shape[1:], 3), 128, np.uint8)
    mended = GuidedFilter(radius=1)(grey, probabilities)
    assert (mended != probabilities.argmax(0)).mean() < 0.02


def test_settings_by_name():
    made = baselines.make_all([{"guided_filter": {"radius": 3}}])
    assert (made["guided_filter"].radius, made["guided_filter"].smoothness) == (3, 1e-3)
    assert list(baselines.make_all({"guided_filter": {}})) == ["guided_filter"]
    assert baselines.make_all([]) == {}


@NEEDS_CRF
def test_names_and_settings_in_one_list():
    made = baselines.make_all(["guided_filter", {"densecrf": {"colour_weight": 2, "smooth_weight": 0}}])
    assert list(made) == ["guided_filter", "densecrf"]
    assert (made["densecrf"].colour[0], made["densecrf"].smooth[0]) == (2, 0)


@pytest.mark.parametrize(
    ("wanted", "error", "message"),
    [
        (["crf"], ValueError, "unknown baseline 'crf'; choose from densecrf, guided_filter"),
        ({"guided_filter": {"size": 3}}, ValueError, "no setting 'size'; it has radius, smoothness"),
        ({"guided_filter": {"radius": "3"}}, TypeError, "guided_filter.radius must be a number; got '3'"),
        ({"guided_filter": {"radius": True}}, TypeError, "guided_filter.radius must be a number; got True"),
        ({"guided_filter": {"radius": 0}}, ValueError, "radius must be a whole number of at least 1"),
        ({"guided_filter": None}, TypeError, "must be a mapping, such as {} for the usual ones; got None"),
        (["guided_filter", {"guided_filter": {}}], ValueError, "guided_filter is there twice"),
    ],
)
def test_what_cannot_be_made_is_explained(wanted, error, message):
    with pytest.raises(error, match=message):
        baselines.make_all(wanted)


@NEEDS_CRF
@pytest.mark.parametrize(
    ("settings", "message"),
    [({"colour_weight": -1}, "colour_weight must be at least 0"), ({"colour_reach": 0}, "colour_reach must be more")],
)
def test_settings_that_densecrf_cannot_take(settings, message):
    with pytest.raises(ValueError, match=message):
        baselines.make("densecrf", settings)


@NEEDS_CRF
def test_densecrf_without_weights_is_the_identity():
    image, probabilities, _ = ragged()
    mended = baselines.make("densecrf", {"colour_weight": 0, "smooth_weight": 0})(image, probabilities)
    np.testing.assert_array_equal(mended, probabilities.argmax(0))


@NEEDS_CRF
def test_each_kernel_of_densecrf_works_alone():
    image, probabilities, label = ragged()
    coarse = probabilities.argmax(0)
    colour, smooth = (
        baselines.make("densecrf", settings)(image, probabilities)
        for settings in ({"smooth_weight": 0}, {"colour_weight": 0})
    )
    assert (colour != label).mean() < (smooth != label).mean()  # positions alone know nothing of the true border
    assert (smooth != coarse).any()
