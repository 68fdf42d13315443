"""Thirds of the images of a test."""

import numpy as np
import pytest

from spatialprop.report.dilated.by_condition import when_it_helps


def make_counts(images=10, seed=0):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(500, 1000, images)
    wrong = rng.integers(0, 300, images)
    borders = rng.integers(0, 50, images)
    counts = {
        "pixels": pixels,
        "wrong": wrong,
        "wrong_in_small_regions": rng.integers(0, wrong + 1),
        "mended": rng.integers(0, wrong + 1),
        "broken": rng.integers(0, 60, images),
        "border_pairs": borders,
        "border_pairs_seen": rng.integers(0, borders + 1),
    }
    return {name: values.tolist() for name, values in counts.items()}


@pytest.mark.parametrize("images", [1, 2, 3, 10, 48])
def test_thirds_are_ordered_and_hold_every_image_once(images):
    counts = make_counts(images)
    everything, *thirds = when_it_helps(counts)
    assert everything.numbers["images"] == images
    for condition in ("coarse error", "error in small regions", "border pairs seen"):
        of_condition = [found.numbers for found in thirds if found.condition == condition]
        sizes = [numbers["images"] for numbers in of_condition]
        assert max(sizes) - min(sizes) <= 1
        means = [numbers["value"] for numbers in of_condition]
        assert means == sorted(means)
        if condition == "coarse error":
            assert sum(sizes) == images
            assert sum(numbers["hurt"] for numbers in of_condition) == everything.numbers["hurt"]
            nets = sum(numbers["net"] * numbers["images"] for numbers in of_condition)
            assert nets == pytest.approx(everything.numbers["net"] * images)


def test_numbers_of_a_third_by_hand():
    counts = make_counts(9)
    order = np.argsort(np.divide(counts["wrong"], counts["pixels"]), kind="stable")[3:6]
    pixels, wrong, corrected, broken = (
        np.array([counts[name][image] for image in order]) for name in ("pixels", "wrong", "mended", "broken")
    )
    (found,) = [one for one in when_it_helps(counts) if (one.condition, one.third) == ("coarse error", "middle")]
    m, b = corrected.sum() / wrong.sum(), broken.sum() / (pixels - wrong).sum()
    assert found.numbers == pytest.approx({
        "images": 3, "value": (wrong / pixels).mean(), "net": ((corrected - broken) / pixels).mean(),
        "hurt": (corrected < broken).sum(), "mended": m, "broken": b, "break_even": b / (b + m),
    })  # fmt: skip


def test_skill_that_is_the_same_everywhere_does_not_look_like_a_condition():
    """A quarter of wrong pixels is corrected, a hundredth of others broken: net grows with error, skill does not."""
    wrong = np.arange(100, 4000, 100)
    counts = {
        "pixels": [10_000] * len(wrong), "wrong": wrong.tolist(), "wrong_in_small_regions": wrong.tolist(),
        "mended": (wrong // 4).tolist(), "broken": ((10_000 - wrong) // 100).tolist(),
        "border_pairs": wrong.tolist(), "border_pairs_seen": wrong.tolist(),
    }  # fmt: skip
    low, middle, high = [found.numbers for found in when_it_helps(counts) if found.condition == "coarse error"]
    assert low["net"] < middle["net"] < high["net"]
    for numbers in (low, middle, high):
        assert numbers["mended"] == pytest.approx(0.25)
        assert numbers["broken"] == pytest.approx(0.01)
        assert numbers["break_even"] == pytest.approx(0.01 / 0.26)
    hurt = sum(share / 10_000 < low["break_even"] for share in wrong)
    assert hurt == low["hurt"] + middle["hurt"] + high["hurt"]


def test_what_does_not_occur_is_left_out():
    nothing = {name: [0, 0] for name in make_counts()}
    assert when_it_helps(nothing) == []  # void altogether
    perfect = nothing | {"pixels": [10, 10]}
    everything, *thirds = when_it_helps(perfect)
    assert everything.numbers == {
        "images": 2, "value": None, "net": 0, "hurt": 0, "mended": None, "broken": 0, "break_even": None,
    }  # fmt: skip
    assert {found.condition for found in thirds} == {"coarse error"}
