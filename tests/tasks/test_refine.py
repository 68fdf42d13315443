"""The frozen segmenter inside a refinement."""

import torch

from spatialprop.tasks import Refine
from tests.tasks.tiny import QUIET, fit, make, sample

pytestmark = QUIET


def test_the_segmenter_stands_still():
    """No gradients, no optimizer, no statistics, whatever `train` says."""
    task = make(Refine)
    task.train()
    assert task.network.training
    assert not any(module.training for module in task.segmenter.modules())
    before = {name: value.clone() for name, value in task.segmenter.state_dict().items()}
    fit(task, 2)
    assert all(torch.equal(value, before[name]) for name, value in task.segmenter.state_dict().items())
    assert all(not parameter.requires_grad and parameter.grad is None for parameter in task.segmenter.parameters())
    trained = {id(p) for group in task.trainer.optimizers[0].param_groups for p in group["params"]}
    assert trained == {id(parameter) for parameter in task.network.parameters()}


def test_without_a_coarse_map_the_segmenter_makes_one(monkeypatch):
    task = make(Refine).eval()
    monkeypatch.setattr(task, "log", lambda *_, **__: None)
    batch = {"image": torch.rand(2, 3, 40, 56), "label": torch.zeros(2, 40, 56, dtype=torch.int64)}
    made = task.segment(batch["image"])
    assert not made.requires_grad
    torch.testing.assert_close(task(batch["image"]), task(batch["image"], made))
    torch.testing.assert_close(task.predict(batch)["coarse"], made)
    task.training_step(batch, 0).backward()
    assert task.network.guidance.head.weight.grad.abs().sum() > 0


def test_its_maps_are_as_fine_as_those_that_are_kept():
    """Means over cells of eight pixels, enlarged: what the data module makes of a file."""
    task = make(Refine).eval()
    image = sample(0)["image"][None]
    shares = task.segmenter(image).softmax(dim=1)
    cells = torch.nn.functional.avg_pool2d(shares, 4)  # the segmenter's stride is 2
    expected = torch.nn.functional.interpolate(cells, scale_factor=8, mode="bilinear")
    torch.testing.assert_close(task.segment(image), expected)
