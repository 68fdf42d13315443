"""The task, its loss, and what its test says."""

import json
from functools import partial

import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader

from spatialprop.data import VOID, collate
from spatialprop.nn.dilated import later_half
from spatialprop.ops import neighbour_labels
from spatialprop.tasks import DilatedAffinity, Parts
from spatialprop.tasks.dilated_affinity_loss import balanced_affinity_loss, labels_on_grid
from tests.tasks.tiny import LABELS, OPTIMIZATION, QUIET, Segmenter, fit, loader, make_trainer, sample

pytestmark = QUIET

DILATIONS = (1, 2)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def make(kind="spread", **options):
    settings = {"dilations": DILATIONS, "steps": 4, "power": 2.0, "width": 8, "background": 0, "curve": (1, 2, 4, 6)}
    return DilatedAffinity(Parts(LABELS, OPTIMIZATION, Segmenter), propagation=kind, **settings | options)


TASKS = {
    "base": lambda: make("none", affinity_weight=0.0),
    "loss": partial(make, "none"),
    "tested only": partial(make, train_through=False),
    "spread": make,
    "scan": partial(make, "scan", steps=2),
    "through alone": partial(make, affinity_weight=0.0),
}


@pytest.mark.parametrize("name", TASKS)
def test_learns_two_images_by_heart(name):
    losses = fit(TASKS[name](), epochs=15)
    assert losses[-1] < 0.85 * losses[0]


@pytest.mark.slow
def test_affinities_are_learned_too():
    task = make()
    fit(task, epochs=60)
    make_trainer().test(task, loader(batch_size=1), verbose=False)
    scores = task.results["coarse"]["affinity"]["1"]["all"]["different"]
    assert scores["average_precision"] > 3 * scores["share"]


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("size", [(35, 50)])
def test_testing_gives_results(name, size):
    task = TASKS[name]()
    trainer = make_trainer()
    for _ in range(2):  # a second test counts nothing twice
        trainer.test(task, loader(1, size), verbose=False)
    coarse, refined = task.results["coarse"], task.results.get("refined")
    propagates, has_head = task.network.propagation is not None, task.network.head is not None
    assert (refined is not None) == propagates
    assert ("affinity" in coarse) == has_head
    parts = ["segmenter", *(["head"] if has_head else []), *(["propagation"] if propagates else [])]
    assert [list(coarse["cost"][key]) for key in ("parameters", "FLOPs", "milliseconds")] == [parts] * 3
    assert coarse["cost"]["size"] == list(size)
    assert len(task.cost.seconds["segmenter"]) == 2
    assert (task.affinity_of is not None) == propagates


@pytest.mark.parametrize("kind", ["spread", "scan"])
def test_the_curve_meets_the_result_at_its_number_of_steps(kind):
    task = make(kind)
    fit(task, epochs=5)
    make_trainer().test(task, loader(batch_size=1), verbose=False)
    refined = task.results["refined"]
    at_steps = dict(refined["steps"]["4"])
    assert at_steps.pop("mIoU") == pytest.approx(refined["mIoU"])
    assert at_steps == refined["changes"]
    assert list(refined["steps"]) == ["0", "1", "2", "4", "6"]
    images = refined["images"]
    net = (sum(images["mended"]) - sum(images["broken"])) / sum(images["pixels"])
    assert net == pytest.approx(refined["pixel_accuracy"] - task.results["coarse"]["pixel_accuracy"])
    assert len(images["pixels"]) == 2
    wrong = sum(region["after"] for region in refined["error_regions"].values())
    counted = 2 * 31 * 32  # the first row is void
    assert wrong == round((1 - refined["pixel_accuracy"]) * counted)


def test_what_is_only_tested_neither_runs_in_training_nor_chooses_weights():
    task, through = make(train_through=False), make()
    assert (task.monitor, through.monitor) == ("val/coarse_mIoU", "val/refined_mIoU")
    task.network.propagation.forward = None
    task.log = lambda *_, **__: None
    task.training_step(collate([sample(0)]), 0)


def test_the_loss_is_the_sum_of_its_parts():
    batch = collate([sample(0), sample(1)])
    task = make(affinity_weight=0.3, coarse_weight=0.2)
    logged = {}
    task.log = lambda name, value, **_: logged.__setitem__(name, value.item())
    total = task.training_step(batch, 0).item()
    refined = F.nll_loss(task(batch["image"])[1], batch["label"], ignore_index=VOID).item()
    parts = refined + 0.2 * logged["train/coarse_loss"] + 0.3 * logged["train/affinity_loss"]
    assert total == pytest.approx(parts, rel=1e-4)
    assert logged["train/loss"] == total


def test_missed_borders_are_ties_to_another_class():
    task = make()
    batch = collate([sample(0)])
    outputs = task.test_step(batch, 0)
    missed = outputs["missed_borders"]
    label = labels_on_grid(batch["label"], missed.shape[-2:])
    borders = (neighbour_labels(label, (1,), 3, VOID) == 0).any(1)
    assert torch.equal(missed > 0, borders)
    assert missed.max() <= 1


def test_affinity_of_a_pixel_is_what_it_hears():
    task = make(steps=3).eval()
    batch = collate([sample(0)])
    coarse = task(batch["image"])[0].exp().detach()
    with torch.inference_mode():
        row = task.affinity_of(batch["image"], coarse, (15, 12))
    assert row.shape == (32, 32)
    assert row.min() >= 0
    assert row.sum().item() == pytest.approx(1, abs=1e-4)  # an average of averages


def test_weights_of_nothing_are_refused():
    with pytest.raises(ValueError, match="nothing would train the affinities"):
        make(affinity_weight=0.0, train_through=False)
    assert make("none", affinity_weight=0.0).network.head is None


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"affinity_weight": -1.0}, ValueError, r"affinity_weight must be at least 0 and finite; got -1\.0"),
        ({"affinity_weight": float("nan")}, ValueError, "affinity_weight must be at least 0 and finite; got nan"),
        ({"affinity_weight": None}, TypeError, "affinity_weight must be a number; got None"),
        ({"coarse_weight": -5}, ValueError, "coarse_weight must be at least 0 and finite; got -5"),
        ({"coarse_weight": "much"}, TypeError, "coarse_weight must be a number; got 'much'"),
        ({"train_through": "maybe"}, TypeError, "train_through must be true or false; got 'maybe'"),
        ({"background": 3}, ValueError, "index of a class, 0 to 2, or null where no class is a background; got 3"),
        ({"background": -1}, ValueError, "0 to 2, or null .*; got -1"),
        ({"background": 1.5}, ValueError, r"0 to 2, or null .*; got 1\.5"),
        ({"background": "abc"}, ValueError, "0 to 2, or null .*; got 'abc'"),
        ({"curve": (0, 1)}, ValueError, r"numbers of steps, integers from 1 up; got \[0, 1\]"),
        ({"curve": (1.5,)}, ValueError, r"numbers of steps, integers from 1 up; got \[1\.5\]"),
        ({"curve": 5}, TypeError, r"a list of numbers of steps, such as \[1,2,5\]; got 5"),
    ],
)
def test_wrong_options_are_refused_before_training(options, error, told):
    with pytest.raises(error, match=told):
        make(**options)


def test_where_nothing_counts_scores_are_null():
    task = make()
    images = [sample(0), sample(1)]
    for image in images:
        image["label"][:] = VOID
    make_trainer().test(task, DataLoader(images, batch_size=1, collate_fn=collate), verbose=False)
    assert set(task.results["refined"]["steps"]) == {"0", "1", "2", "4", "6"}
    assert all(found["mIoU"] is None for found in task.results["refined"]["steps"].values())
    json.dumps(task.results, allow_nan=False)


@pytest.mark.parametrize(("side", "cells"), [(12, 12), (12, 6), (12, 3), (13, 4), (1, 1)])
def test_labels_on_a_grid_are_those_at_the_centres(side, cells):
    label = torch.arange(side).reshape(1, side, 1)
    centres = [min(side - 1, int((cell + 0.5) * side / cells)) for cell in range(cells)]
    assert labels_on_grid(label, (cells, 1)).flatten().tolist() == centres


@pytest.mark.parametrize("background", [None, 0])
def test_loss_equals_its_definition(background):
    label = torch.randint(3, (2, 6, 7))
    label[torch.rand(label.shape) < 0.1] = VOID
    pairs = torch.randn(2, 8, 6, 7)
    truth = later_half(neighbour_labels(label, DILATIONS), DILATIONS)
    total = 0.0
    for place in range(2):
        losses = {"different": [], "background": [], "foreground": []}
        for n, m, i, j in torch.cartesian_prod(*map(torch.arange, (2, 4, 6, 7))).tolist():
            same, z = truth[n, 4 * place + m, i, j].item(), pairs[n, 4 * place + m, i, j].double()
            if same == 0:
                losses["different"].append(F.softplus(z).item())
            elif same == 1:
                behind = background is not None and label[n, i, j] == background
                losses["background" if behind else "foreground"].append(F.softplus(-z).item())
        weights = {"different": 0.5, "background": 0.25, "foreground": 0.5 if background is None else 0.25}
        total += sum(weights[kind] * sum(found) / len(found) for kind, found in losses.items() if found) / 2
    found = balanced_affinity_loss(pairs, label, DILATIONS, background=background)
    assert found.item() == pytest.approx(total, rel=1e-5)


def test_loss_of_nothing_but_void_is_zero_and_has_a_gradient():
    pairs = torch.randn(1, 8, 4, 4, requires_grad=True)
    loss = balanced_affinity_loss(pairs, torch.full((1, 4, 4), VOID), DILATIONS)
    loss.backward()
    assert loss.item() == 0
    assert not pairs.grad.any()


def test_how_many_pairs_there_are_of_a_kind_does_not_matter():
    """A wide image of one border weighs that border as a narrow one does."""

    def loss(width):
        label = torch.zeros(1, 1, width, dtype=torch.int64)
        label[..., width // 2 :] = 1
        return balanced_affinity_loss(torch.full((1, 4, 1, width), 1.5), label, (1,)).item()

    assert loss(6) == pytest.approx(loss(60))
