"""The losses against their definition, one pixel at a time."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spatialprop.data import VOID
from spatialprop.tasks.losses import cross_entropy, edge_loss


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


def edges_by_hand(logits, label):
    """What edges and the rest cost, half of each: the mean over cells with an edge and without."""
    (batch, height, width), (rows, columns) = label.shape, logits.shape[-2:]
    costs = {True: [], False: []}
    for n in range(batch):
        for row in range(rows):
            for column in range(columns):
                differing = []
                for i in range(row * height // rows, -(-(row + 1) * height // rows)):
                    for j in range(column * width // columns, -(-(column + 1) * width // columns)):
                        for down, right in ((i + 1, j), (i, j + 1)):
                            if down < height and right < width:
                                here, there = label[n, i, j].item(), label[n, down, right].item()
                                differing += [] if VOID in (here, there) else [here != there]
                if differing:
                    logit = logits[n, 0, row, column].item()
                    costs[any(differing)].append(math.log1p(math.exp(-logit if any(differing) else logit)))
    return (mean(costs[True]) + mean(costs[False])) / 2


@given(batches())
def test_cross_entropy_equals_its_definition(batch):
    assert cross_entropy(*batch).item() == pytest.approx(pixel_by_pixel(*batch))


@given(batches(), st.integers(1, 3), st.integers(0, 2**16))
def test_edge_loss_equals_its_definition(batch, stride, seed):
    _, label = batch
    rows, columns = (-(-side // stride) for side in label.shape[-2:])
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(len(label), 1, rows, columns, generator=generator, dtype=torch.float64)
    assert edge_loss(logits, label).item() == pytest.approx(edges_by_hand(logits, label))


def classes_or_edges(loss, scores, label):
    """One of the losses, of scores (N, K, H, W), the first of which are taken for logits of edges."""
    return edge_loss(scores[:, :1], label) if loss == "edges" else cross_entropy(scores.log_softmax(dim=1), label)


@pytest.mark.parametrize("loss", ["classes", "edges"])
def test_nothing_but_void_costs_nothing(loss):
    scores = torch.randn(2, 3, 4, 5, requires_grad=True)
    cost = classes_or_edges(loss, scores, torch.full((2, 4, 5), VOID))
    cost.backward()
    assert cost.item() == 0
    assert not scores.grad.any()


@pytest.mark.parametrize("loss", ["classes", "edges"])
def test_void_pixels_teach_nothing(loss):
    torch.manual_seed(0)
    scores, label = torch.randn(1, 3, 6, 6, requires_grad=True), torch.randint(3, (1, 6, 6))
    label[0, :, 3:] = VOID
    classes_or_edges(loss, scores, label).backward()
    taught = scores.grad[:, :1] if loss == "edges" else scores.grad
    assert not taught[..., 3:].any()
    assert taught[..., :5, :3].all()


def test_certain_and_right_costs_nothing():
    label = torch.tensor([[[0, 0, 1, 1]]])
    certain = torch.tensor([[[[40.0, 40, -40, -40]], [[-40, -40, 40, 40]]]]).requires_grad_()
    edges = torch.tensor([[[[-40.0, 40, -40, 0]]]]).requires_grad_()
    cost = cross_entropy(certain.log_softmax(dim=1), label) + edge_loss(edges, label)
    cost.backward()
    assert cost.item() == pytest.approx(0, abs=1e-5)
    assert certain.grad.isfinite().all()
    assert edges.grad.isfinite().all()


def test_rare_edges_weigh_as_much_as_the_rest():
    label = torch.zeros(1, 20, 20, dtype=torch.int64)
    label[:, :, 10:] = 1
    never, always = (torch.full((1, 1, 20, 20), logit) for logit in (-5.0, 5.0))
    assert edge_loss(never, label).item() == pytest.approx(edge_loss(always, label).item())
