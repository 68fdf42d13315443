"""Windows against the whole image, and against their own definition."""

from functools import partial
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from spatialprop.data import VOID, LabelSet, collate
from spatialprop.nn.guidance import LightGuidance
from spatialprop.tasks import Joint, Parts, Refine, Segment
from spatialprop.tasks.optimization import Optimization
from spatialprop.tasks.windows import GRID, Windows

LABELS = LabelSet("stripes", ("a", "b", "c"), ignore_index=VOID)
OPTIMIZATION = Optimization(torch.optim.Adam)

sides = st.integers(1, 200)
windows = st.tuples(st.integers(1, 4), st.integers(0, 3)).filter(lambda pair: pair[1] < pair[0])


def shares(height, width, channels=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, channels, height, width, generator=generator).softmax(dim=1)


@given(windows, sides, sides)
def test_every_pixel_is_covered_and_weights_add_up_to_one(window, height, width):
    size, overlap = (GRID * part for part in window)
    seen = []

    def remember(part):
        seen.append(tuple(part.shape[-2:]))
        return part.log()

    given_map = shares(height, width)
    blended = Windows(size, overlap)(remember, given_map).exp()
    torch.testing.assert_close(blended, given_map, rtol=1e-4, atol=1e-6)
    assert all(rows <= size and columns <= size for rows, columns in seen)
    if max(height, width) > size:
        assert len(seen) > 1


@given(windows, st.integers(33, 300))
def test_windows_begin_on_the_grid_overlap_and_are_no_stumps(window, length):
    size, overlap = (GRID * part for part in window)
    spans = Windows(size, overlap)._spans(length)
    assert spans[0].start == 0
    assert spans[-1].stop == length
    assert all(span.start % GRID == 0 for span in spans)
    for before, after in pairwise(spans):
        assert before.start < after.start
        assert before.stop - after.start >= overlap
    assert all(span.stop - span.start > size - GRID for span in spans) or len(spans) == 1


@pytest.mark.parametrize("shape", [(64, 64), (20, 50)])
def test_what_fits_into_a_window_is_taken_as_it_is(shape):
    given_map = shares(*shape)
    seen = []
    result = Windows(64, 32)(lambda part: seen.append(part) or part, given_map)
    assert seen[0] is given_map
    assert result is given_map


def test_there_is_no_seam_where_windows_disagree():
    """Each window answers with a constant of its own: from one to the next the blend must climb in small steps."""
    answers = iter([0.2, 0.8])
    blended = Windows(96, 64)(lambda part: torch.full_like(part, next(answers)).log(), torch.zeros(1, 1, 8, 128)).exp()
    steps = blended[0, 0, 0].diff()
    assert blended[0, 0, 0, 0].item() == pytest.approx(0.2, abs=1e-3)
    assert blended[0, 0, 0, -1].item() == pytest.approx(0.8, abs=1e-3)
    assert (steps >= -1e-6).all()
    assert steps.max() < 0.6 / 40


@pytest.mark.parametrize(
    ("size", "overlap", "message"),
    [
        (100, 32, "window must be a multiple of 32 pixels; got 100, take 128"),
        (0, 0, "window must be a multiple of 32 pixels; got 0, take 32"),
        (64, 64, "got overlap = 64, window = 64"),
        (64, 20, "got overlap = 20, window = 64"),
        (64, -32, "got overlap = -32, window = 64"),
    ],
)
def test_sizes_are_checked(size, overlap, message):
    with pytest.raises(ValueError, match=message):
        Windows(size, overlap)


class Local(nn.Module):
    """A segmenter that sees four pixels at a time, in cells of four."""

    feature_channels = 4

    def __init__(self):
        super().__init__()
        self.trunk, self.scores = nn.Conv2d(3, 4, 4, stride=4), nn.Conv2d(4, 3, 1)

    def forward(self, image):
        return self.scores(self.trunk(image))

    def forward_with_features(self, image):
        return self(image), self.trunk(image)


def light(channels):
    return LightGuidance(channels, width=8)


def sample(height=96, width=160):
    generator = torch.Generator().manual_seed(1)
    image = F.interpolate(torch.rand(1, 3, 8, 8, generator=generator), (height, width), mode="bilinear")[0]
    label = torch.randint(3, (height, width), generator=generator)
    coarse = F.interpolate(shares(6, 10), (height, width), mode="bilinear")[0]
    return collate([{"name": "stripes", "image": image, "label": label, "coarse": coarse}])


def make(task, **settings):
    return task(Parts(LABELS, OPTIMIZATION, Local, light), **settings)


TASKS = {"segment": partial(make, Segment), "refine": partial(make, Refine), "joint": partial(make, Joint)}


@pytest.mark.parametrize("kind", TASKS)
@torch.no_grad()
def test_each_task_is_tested_in_windows_and_nearly_as_on_the_whole_image(kind):
    torch.manual_seed(0)
    whole = TASKS[kind]().eval()
    windowed = TASKS[kind](window=96, overlap=64).eval()
    windowed.load_state_dict(whole.state_dict())
    sizes = []
    windowed.network.register_forward_pre_hook(lambda module, given: sizes.append(tuple(given[0].shape[-2:])))
    batch = sample()
    expected, found = whole.test_step(batch, 0), windowed.test_step(batch, 0)
    assert sizes == [(96, 96), (96, 96), (96, 96)]
    name = "coarse" if kind == "segment" else "refined"
    torch.testing.assert_close(found[name], expected[name], rtol=0, atol=0.05)
    torch.testing.assert_close(found[name].sum(dim=1), torch.ones(1, 96, 160), rtol=0, atol=1e-4)
    windowed.validation_step(batch, 0)
    assert len(sizes) == 6


@pytest.mark.parametrize("kind", ["refine", "joint"])
def test_an_affinity_is_that_of_the_window_around_its_pixel(kind):
    task = TASKS[kind](window=64, overlap=32).eval()
    batch = sample()
    with torch.inference_mode():
        row = task.affinity_of(batch["image"], batch["coarse"], (70, 100))
    rows, columns = slice(32, 96), slice(64, 128)
    maps = [batch[name][..., rows, columns] for name in (["image", "coarse"] if kind == "refine" else ["image"])]
    inside = task.network.affinity(*maps, (38, 36))
    torch.testing.assert_close(row[rows, columns], inside)
    row[rows, columns] = 0
    assert not row.any()
