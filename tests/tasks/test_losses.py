"""The losses against their definition, one pixel at a time."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spatialprop.data import VOID
from spatialprop.tasks.losses import cross_entropy, multi_objective

LOSSES = [cross_entropy, multi_objective]


@st.composite
def batches(draw):
    """Log-probabilities (N, K, H, W) and labels (N, H, W), void among them."""
    batch, classes = draw(st.integers(1, 2)), draw(st.integers(1, 4))
    height, width = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    scores = 2 * torch.randn(batch, classes, height, width, generator=generator, dtype=torch.float64)
    label = torch.randint(classes, (batch, height, width), generator=generator)
    void = torch.rand(label.shape, generator=generator) < draw(st.sampled_from([0, 0.3, 0.9]))
    return scores.log_softmax(dim=1), label.masked_fill(void, VOID)


def mean(values):
    return sum(values) / len(values) if values else 0.0


def pixel_by_pixel(log_probabilities, label):
    counted = (label != VOID).nonzero().tolist()
    return mean([-log_probabilities[n, label[n, i, j], i, j].item() for n, i, j in counted])


def edges_by_hand(log_probabilities, label, reach):
    """What edges and the rest cost, half of each: the mean over pixels and those `reach` to the right or below."""
    probabilities = log_probabilities.exp()
    batch, height, width = label.shape
    total = 0.0
    for down, right in ((0, reach), (reach, 0)):
        costs = {True: [], False: []}
        for n in range(batch):
            for i in range(height - down):
                for j in range(width - right):
                    here, there = label[n, i, j].item(), label[n, i + down, j + right].item()
                    if VOID in (here, there):
                        continue
                    same = (probabilities[n, :, i, j] @ probabilities[n, :, i + down, j + right]).item()
                    likelihood = 1 - same if here != there else same
                    costs[here != there].append(-math.log(max(likelihood, 1e-6)))
        total += (mean(costs[True]) + mean(costs[False])) / 2
    return total / 2


@given(batches())
def test_cross_entropy_equals_its_definition(batch):
    assert cross_entropy(*batch).item() == pytest.approx(pixel_by_pixel(*batch))


@given(batches(), st.sampled_from([0.0, 1.0, 2.5]), st.integers(1, 5))
def test_multi_objective_adds_what_edges_cost(batch, edge_weight, reach):
    expected = pixel_by_pixel(*batch) + edge_weight * edges_by_hand(*batch, reach)
    assert multi_objective(*batch, edge_weight=edge_weight, reach=reach).item() == pytest.approx(expected)


def test_reach_is_checked():
    with pytest.raises(ValueError, match="reach must be at least 1 pixel; got 0"):
        multi_objective(torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.int64), reach=0)


@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_but_void_costs_nothing(loss):
    scores = torch.randn(2, 3, 4, 5, requires_grad=True)
    cost = loss(scores.log_softmax(dim=1), torch.full((2, 4, 5), VOID))
    cost.backward()
    assert cost.item() == 0
    assert not scores.grad.any()


@pytest.mark.parametrize("loss", LOSSES)
def test_void_pixels_teach_nothing(loss):
    torch.manual_seed(0)
    scores, label = torch.randn(1, 3, 6, 6, requires_grad=True), torch.randint(3, (1, 6, 6))
    label[0, :, 3:] = VOID
    loss(scores.log_softmax(dim=1), label).backward()
    assert not scores.grad[..., 3:].any()
    assert scores.grad[..., :3].all()


@pytest.mark.parametrize("loss", LOSSES)
def test_certain_and_right_costs_nothing(loss):
    label = torch.tensor([[[0, 0, 1, 1]]])
    certain = torch.tensor([[[[40.0, 40, -40, -40]], [[-40, -40, 40, 40]]]]).requires_grad_()
    cost = loss(certain.log_softmax(dim=1), label)
    cost.backward()
    assert cost.item() == pytest.approx(0, abs=1e-5)
    assert certain.grad.isfinite().all()


def test_blurred_edges_cost_more_than_sharp_ones():
    label = torch.tensor([[[0, 0, 0, 1, 1, 1]]])
    sharp = torch.tensor([0.1, 0.1, 0.1, 0.9, 0.9, 0.9])
    blurred = torch.tensor([0.0, 0.1, 0.4, 0.6, 0.9, 1.0]).clamp(1e-3, 1 - 1e-3)

    def edges(ones):
        log_probabilities = torch.stack([1 - ones, ones]).log().reshape(1, 2, 1, 6)
        return multi_objective(log_probabilities, label) - cross_entropy(log_probabilities, label)

    assert edges(blurred) > 1.3 * edges(sharp)
