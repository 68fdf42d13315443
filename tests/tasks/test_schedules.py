"""The courses of the learning rate."""

from functools import partial

import pytest

from spatialprop.tasks.schedules import constant, cosine, poly, step

COURSE = [tenth / 1000 for tenth in range(1001)]


@pytest.mark.parametrize(
    ("schedule", "start", "end"),
    [
        (constant, 1, 1),
        (cosine, 1, 0),
        (partial(cosine, floor=0.1), 1, 0.1),
        (partial(cosine, warmup=0.2), 0, 0),
        (partial(cosine, warmup=0.2, floor=0.1), 0, 0.1),
        (poly, 1, 0),
        (partial(poly, power=2), 1, 0),
    ],
)
def test_ends(schedule, start, end):
    assert schedule(0.0) == pytest.approx(start)
    assert schedule(1.0) == pytest.approx(end)
    assert all(min(start, end) <= schedule(progress) <= 1 for progress in COURSE)


@pytest.mark.parametrize("schedule", [constant, cosine, partial(cosine, floor=0.3), poly, step])
def test_never_rises(schedule):
    course = [schedule(progress) for progress in COURSE]
    assert course == sorted(course, reverse=True)


def test_warmup_rises_evenly_to_one_then_falls():
    course = [cosine(progress, warmup=0.3, floor=0.1) for progress in COURSE]
    assert course[:301] == sorted(course[:301])
    assert course[300:] == sorted(course[300:], reverse=True)
    assert course[300] == pytest.approx(1)
    assert course[150] == pytest.approx(0.5)
    assert course[650] == pytest.approx(0.55)


@pytest.mark.parametrize("warmup", [-0.1, 1, 2])
def test_impossible_warmup_is_named_at_once(warmup):
    with pytest.raises(ValueError, match=f"at least 0 and less than 1; got {warmup}"):
        cosine(0.0, warmup=warmup)


def test_poly_is_deeplabs():
    assert poly(0.5) == pytest.approx(0.5**0.9)
    assert poly(0.5, power=2) == pytest.approx(0.25)


@pytest.mark.parametrize("parts", range(2, 50))
def test_step_falls_at_the_very_start_of_each_part(parts):
    course = [step(done / (10 * parts), every=1 / parts, factor=0.5) for done in range(10 * parts)]
    assert course == [0.5 ** (done // 10) for done in range(10 * parts)]
