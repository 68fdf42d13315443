"""The task that spreads values: it learns, scores and shows mattes and colours alike."""

from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.optim import Adam

from spatialprop.data import LabelSet, colorize, matting
from spatialprop.data.values.loading import ValueModule
from spatialprop.metrics import ColourScores, MatteErrors, ValueErrors
from spatialprop.nn.guidance import ResidualGuidance
from spatialprop.tasks import Parts, Values
from spatialprop.tasks.muon import Muon, orthogonal
from spatialprop.tasks.optimization import Optimization
from spatialprop.tasks.value_losses import value_loss
from tests.tasks.tiny import QUIET

pytestmark = QUIET
SMALL = {"train": 4, "val": 1, "test": 2, "patch": 32, "size": (32, 40), "seed": 0}
COLOURS = {"channels": 2, "image_channels": 1, "bounds": (-0.5, 0.5), "scores": ColourScores}
MATTE = {"channels": 1, "scores": MatteErrors}


def task(baselines=None, **options):
    torch.manual_seed(0)
    parts = Parts(
        LabelSet("values", ("value",)),
        Optimization(partial(Adam, lr=3e-3)),
        guidance=partial(ResidualGuidance, widths=(8, 8, 8), depths=(0, 1, 1)),
        propagation={"num_classes": 1, "hidden": None, "hints": [], "groups": None, "connection": "three_way"},
        baselines=baselines or {},
    )
    return Values(parts, **options)


def trainer(**options):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    return pl.Trainer(enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False,
                      **quiet, **options)  # fmt: skip


@pytest.mark.parametrize(("make", "options"), [(matting, MATTE), (partial(colorize, hints=(20,)), COLOURS)])
def test_a_run_learns_scores_and_shows(make, options):
    made = task(baselines={"half": lambda image, values, confidence: values * confidence}, **options)
    data = ValueModule(make(**SMALL), seed=0, batch_size=2)
    before = [parameter.clone() for parameter in made.network.parameters()]
    running = trainer(max_epochs=1)
    running.fit(made, data)
    assert any(not torch.equal(a, b) for a, b in zip(before, made.network.parameters(), strict=True))
    assert made.monitor in running.callback_metrics
    running.test(made, data, verbose=False)
    assert set(made.results) == {"coarse", "refined", "half"}
    assert all(type(made.results["refined"][name]) is float for name in (options["scores"].main, "milliseconds"))
    assert "milliseconds" not in made.results["coarse"]


def test_the_best_score_is_the_highest_or_the_lowest():
    assert (task(**MATTE).monitor, task(**MATTE).monitor_mode) == ("val/refined_SAD", "min")
    assert (task(**COLOURS).monitor, task(**COLOURS).monitor_mode) == ("val/refined_PSNR", "max")


def test_pictures_show_mattes_in_grey_and_colours_in_colour():
    alpha = torch.tensor([0.0, 0.5, 1.0, 2.0]).view(1, 1, 2, 2)
    assert task(**MATTE).picture(torch.rand(1, 3, 2, 2), alpha)[..., 1].flatten().tolist() == [0, 128, 255, 255]
    red = torch.tensor([-0.1687, 0.5]).view(1, 2, 1, 1)
    picture = task(**COLOURS).picture(torch.full((1, 1, 1, 1), 0.299), red)
    np.testing.assert_allclose(picture[0, 0], (255, 0, 0), atol=1)


def test_any_other_values_need_a_data_set_and_a_metric_alone():
    made = task(channels=3, scores=ValueErrors, bounds=(-2.0, 5.0))
    image, values = torch.rand(1, 3, 20, 24), torch.randn(1, 3, 20, 24)
    confidence = (torch.rand(1, 1, 20, 24) < 0.3).float()
    batch = {"image": image, "values": values, "confidence": confidence, "truth": values, "group": [""], "name": ["a"]}
    assert made.test_step(batch, 0)["pictures"].keys() == {"coarse", "refined", "truth"}
    assert made.comparison.compute()["refined"]["RMSE"] > 0


@pytest.mark.parametrize("power", [1, 2])
def test_the_loss_counts_unknown_pixels_and_their_steps(power):
    generator = torch.Generator().manual_seed(0)
    result, truth = torch.rand(2, 2, 2, 5, 6, generator=generator)
    known = (torch.rand(2, 1, 5, 6, generator=generator) < 0.4).float()
    error = ((result - truth).abs() ** power)[(known < 1).expand_as(result)]
    assert value_loss(result, truth, known, power=power).item() == pytest.approx(error.mean().item(), rel=1e-5)
    shifted = value_loss(truth + 0.5, truth, known, power=power, gradient=3)
    torch.testing.assert_close(shifted, torch.tensor(0.5**power))
    assert value_loss(result, truth, torch.ones_like(known)) == 0
    with pytest.raises(ValueError, match="power must be above 0"):
        value_loss(result, truth, known, power=0)


def test_muon_makes_steps_of_one_size_in_every_direction():
    torch.manual_seed(0)
    matrix = torch.randn(12, 40) @ torch.diag(torch.logspace(-1, 1, 40))
    values = torch.linalg.svdvals(orthogonal(matrix).float())
    assert values.min() > 0.4
    assert values.max() < 1.4


def test_muon_learns_and_goes_on_exactly_from_its_state():
    def run(steps, state=None):
        torch.manual_seed(0)
        layer = torch.nn.Conv2d(2, 4, 3)
        optimizer = Muon(layer.parameters(), lr=1e-2)
        if state is not None:
            layer.load_state_dict(state[0])
            optimizer.load_state_dict(state[1])
        losses = []
        for step in range(steps):
            image = torch.rand(2, 2, 8, 8, generator=torch.Generator().manual_seed(step % 3))
            loss = (layer(image) - 0.3).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses, (layer.state_dict(), optimizer.state_dict())

    losses, _ = run(60)
    assert losses[-1] < 0.1 * losses[0]
    _, half = run(30)
    again, _ = run(30, half)
    assert again == losses[30:]
    with pytest.raises(ValueError, match="lr must be above 0"):
        Muon([torch.nn.Parameter(torch.zeros(1))], lr=0)
