"""Pairs, the head that predicts them, and what runs along them."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spatialprop.nn import AffinityHead, AffinityPropagation
from spatialprop.nn.dilated import both_ends, later_half
from spatialprop.nn.dilated.propagation import scan_gates
from spatialprop.ops import DIRECTIONS, neighbour_labels, propagate
from spatialprop.ops.spreading.pairs import neighbour_offsets

NEIGHBOURHOODS = [((1,), 3), ((1, 2, 4), 3), ((3, 1), 3), ((1, 2), 5)]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def random_pairs(dilations, kernel, height=7, width=9):
    return torch.rand(2, len(dilations) * (kernel**2 - 1) // 2, height, width)


@pytest.mark.parametrize(("dilations", "kernel"), NEIGHBOURHOODS)
def test_a_pair_says_the_same_from_both_its_ends(dilations, kernel):
    affinity = both_ends(random_pairs(dilations, kernel), dilations, kernel)
    offsets = neighbour_offsets(dilations, kernel)
    _, _, height, width = affinity.shape
    each = kernel**2 - 1  # of the same dilation: two may have a neighbour in common
    for n, (row, column) in enumerate(offsets):
        first = n - n % each
        opposite = first + offsets[first : first + each].index((-row, -column))
        for i in range(height):
            for j in range(width):
                if 0 <= i + row < height and 0 <= j + column < width:
                    assert torch.equal(affinity[:, n, i, j], affinity[:, opposite, i + row, j + column])
                else:
                    assert not affinity[:, n, i, j].any()


@pytest.mark.parametrize(("dilations", "kernel"), NEIGHBOURHOODS)
def test_later_neighbours_are_kept_as_they_were_predicted(dilations, kernel):
    pairs = random_pairs(dilations, kernel)
    later = later_half(both_ends(pairs, dilations, kernel), dilations)
    assert torch.equal(later, pairs.where(later != 0, 0))
    assert (later != 0).any(dim=(0, 2, 3)).all()


@pytest.mark.parametrize(("dilations", "kernel"), NEIGHBOURHOODS)
def test_half_of_the_truth_is_the_whole_truth(dilations, kernel):
    truth = neighbour_labels(torch.randint(3, (2, 8, 6)), dilations, kernel) == 1
    assert torch.equal(both_ends(later_half(truth, dilations), dilations, kernel), truth)


def test_pairs_of_another_neighbourhood_are_refused():
    with pytest.raises(ValueError, match=r"pairs must be \(N, 8, H, W\).*got \(1, 12, 5, 5\)"):
        both_ends(torch.zeros(1, 12, 5, 5), (1, 2))


def test_each_branch_of_the_head_looks_at_the_pixel_and_its_neighbours():
    dilations = (1, 3)
    head = AffinityHead(5, dilations=dilations, width=8)
    for look, dilation in zip(head.look, dilations, strict=True):
        x = torch.zeros(1, 8, 9, 9, requires_grad=True)
        look(x)[0, :, 4, 4].sum().backward()
        seen = {(int(i) - 4, int(j) - 4) for i, j in x.grad[0].abs().sum(0).nonzero()}
        assert seen == {(0, 0), *neighbour_offsets((dilation,), 3)}


def test_head_does_not_care_for_the_scale_of_features():
    head = AffinityHead(5, width=8)
    nn.init.zeros_(head.reduce[0].bias)
    features = torch.rand(1, 5, 12, 12)
    torch.testing.assert_close(head(1000 * features), head(features), rtol=1e-3, atol=1e-3)


def test_head_brings_features_to_another_grid():
    head = AffinityHead(5, dilations=(1, 2), kernel=5, width=8)
    assert head(torch.rand(2, 5, 6, 7), (11, 13)).shape == (2, 24, 11, 13)


def logits_of(label, dilations, kernel=3, sure=12.0):
    truth = later_half(neighbour_labels(label, dilations, kernel), dilations)
    return torch.where(truth == 1, sure, -sure)


@pytest.mark.parametrize("kind", ["spread", "scan"])
def test_true_affinities_mend_a_noisy_map(kind):
    label = torch.zeros(1, 24, 30, dtype=torch.int64)
    label[:, 5:18, 4:15] = 1
    label[:, 10:22, 18:28] = 2
    noisy = 0.7 * F.one_hot(label, 3).permute(0, 3, 1, 2) + 1.0 * torch.rand(1, 3, 24, 30)
    wrong = (noisy.argmax(1) != label).float().mean()
    layer = AffinityPropagation(kind, dilations=(1, 2), steps=3, own_weight=0.1)
    corrected = layer(noisy, logits_of(label, (1, 2)))
    assert (corrected.argmax(1) != label).float().mean() < 0.1 * wrong


@pytest.mark.parametrize("kind", ["spread", "scan"])
@pytest.mark.parametrize("merge", ["mean", "max"])
def test_untied_pixels_stay_and_a_constant_map_stays(kind, merge):
    layer = AffinityPropagation(kind, steps=3, merge=merge)
    x, logits = torch.rand(1, 2, 10, 12), torch.randn(1, 16, 10, 12)
    torch.testing.assert_close(layer(x, torch.full_like(logits, -50)), x)
    constant = torch.full_like(x, 0.3)
    torch.testing.assert_close(layer(constant, logits), constant)


def test_spread_is_the_weighted_average_of_the_docs():
    dilations, power, own = (1, 2), 3.0, 0.5
    x, pairs = torch.rand(1, 2, 6, 7).double(), torch.randn(1, 8, 6, 7)
    layer = AffinityPropagation(dilations=dilations, steps=1, power=power, own_weight=own)
    affinity = both_ends(pairs.sigmoid().double() ** power, dilations)
    expected = torch.empty_like(x)
    for i in range(6):
        for j in range(7):
            above, below = own * x[0, :, i, j], own
            for n, (row, column) in enumerate(neighbour_offsets(dilations, 3)):
                if 0 <= i + row < 6 and 0 <= j + column < 7:
                    above = above + affinity[0, n, i, j] * x[0, :, i + row, j + column]
                    below = below + affinity[0, n, i, j]
            expected[0, :, i, j] = above / below
    torch.testing.assert_close(layer(x.float(), pairs), expected.float())


BEFORE = {"right": (0, -1), "down": (-1, 0), "left": (0, 1), "up": (1, 0)}


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_scan_is_the_same_average_over_the_line_before(direction):
    """Checked pixel by pixel on what `propagate` gives: h there is the average of x and the neighbours' h."""
    dilations = (2, 1)
    weights = both_ends(torch.rand(1, 8, 6, 7).double(), dilations)
    x = torch.rand(1, 1, 6, 7).double()
    gates = scan_gates(weights, dilations)
    place = DIRECTIONS.index(direction)
    h = propagate(x, gates[:, place : place + 1], directions=[direction], merge="mean")
    offsets = neighbour_offsets(dilations, 3)
    row, column = BEFORE[direction]
    for i in range(6):
        for j in range(7):
            above, below = x[0, 0, i, j], 1.0
            for step in (-1, 0, 1):
                there = (row, column + step) if row else (row + step, column)
                if 0 <= i + there[0] < 6 and 0 <= j + there[1] < 7:
                    weight = weights[0, offsets.index(there), i, j]
                    above = above + weight * h[0, 0, i + there[0], j + there[1]]
                    below = below + weight
            torch.testing.assert_close(h[0, 0, i, j], above / below)


@pytest.mark.parametrize("kind", ["spread", "scan"])
def test_steps_add_up(kind):
    layer = AffinityPropagation(kind, steps=5)
    x, pairs = torch.rand(1, 3, 9, 11), torch.randn(1, 16, 9, 11)
    weights = layer.weights(pairs)
    torch.testing.assert_close(layer.run(layer.run(x, weights, 2), weights, 3), layer(x, pairs))
    torch.testing.assert_close(layer(x, pairs, steps=0), x)


@pytest.mark.parametrize("kind", ["spread", "scan"])
def test_gradients_are_exact(kind):
    layer = AffinityPropagation(kind, dilations=(1, 2), steps=2, power=2.0, backend="naive")
    x, pairs = torch.rand(1, 2, 4, 5).double().requires_grad_(), torch.randn(1, 8, 4, 5).double().requires_grad_()
    layer.weights = lambda pairs: both_ends(pairs.sigmoid() ** 2, (1, 2))  # the layer itself is single precision
    assert torch.autograd.gradcheck(lambda x, pairs: layer(x, pairs), (x, pairs))


@pytest.mark.parametrize("kind", ["spread", "scan"])
def test_autocast_does_not_round_probabilities(kind):
    layer = AffinityPropagation(kind, steps=2)
    x, pairs = torch.rand(1, 3, 9, 11), torch.randn(1, 16, 9, 11)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(x, pairs), layer(x.clone(), pairs))
    torch.testing.assert_close(layer(x, pairs), layer(x, pairs.bfloat16()), rtol=0.1, atol=0.05)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"kind": "walk"}, "propagation must be one of spread, scan"),
        ({"kind": "scan", "dilations": (2, 4)}, r"dilations must hold 1; got \(2, 4\)"),
        ({"kind": "scan", "merge": "none"}, "use 'mean' or 'max'"),
        ({"steps": -1}, "steps must be at least 0"),
        ({"power": 0.0}, r"power must be positive and finite; got 0\.0"),
        ({"power": float("inf")}, "power must be positive and finite; got inf"),
        ({"own_weight": 0.0}, r"own_weight must be positive and finite; got 0\.0"),
        ({"own_weight": float("nan")}, "own_weight must be positive and finite; got nan"),
        ({"backend": "gpu"}, "backend must be one of auto, naive"),
        ({"dilations": (1, 1)}, "distinct"),
    ],
)
def test_wrong_options_are_refused(options, told):
    with pytest.raises(ValueError, match=told):
        AffinityPropagation(**options)


@pytest.mark.parametrize("kind", ["spread", "scan"])
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"steps": 1.5}, r"steps must be an integer; got 1\.5"),
        ({"steps": None}, "steps must be an integer; got None"),
        ({"power": "8"}, "power must be a number; got '8'"),
        ({"own_weight": True}, "own_weight must be a number; got True"),
    ],
)
def test_options_of_another_type_are_refused(kind, options, told):
    with pytest.raises(TypeError, match=told):
        AffinityPropagation(kind, **options)


@pytest.mark.parametrize("width", [6, 0, 16.0, "16", None])
def test_a_head_of_another_width_is_refused(width):
    with pytest.raises(ValueError, match=f"width must be a multiple of 4; got {width!r}"):
        AffinityHead(3, width=width)
