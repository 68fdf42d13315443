"""What all tasks share: they learn, are validated, tested and compared."""

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional as F

from spatialprop.data import collate
from spatialprop.tasks import Parts, Refine, Segment
from spatialprop.tasks.losses import cross_entropy
from spatialprop.tasks.optimization import freeze
from spatialprop.tasks.refine import keep_classes_of
from tests.tasks.tiny import LABELS, QUIET, TASKS, fit, loader, make, make_trainer, sample

pytestmark = QUIET


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(params=TASKS)
def make_task(request):
    """Makes each task in turn."""
    return TASKS[request.param]


def test_learns_two_images_by_heart(make_task):
    losses = fit(make_task(), epochs=12)
    assert len(losses) == 12
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.slow
def test_refined_gets_better_than_coarse():
    task = TASKS["refine"]()
    fit(task, epochs=60)
    make_trainer().test(task, loader(batch_size=1), verbose=False)
    assert task.results["coarse"]["mIoU"] < 0.9
    assert task.results["refined"]["mIoU"] > task.results["coarse"]["mIoU"] + 0.05
    assert task.results["refined"]["changes"]["right"] > 0.8


def test_edges_train_the_features_and_are_left_out_of_the_weights():
    task = TASKS["segment and edges"]()
    before = {name: value.clone() for name, value in task.state_dict().items()}
    fit(task, epochs=2)
    changed = {name for name, value in task.state_dict().items() if not torch.equal(value, before[name])}
    assert {"edges.weight", "network.trunk.0.weight", "network.scores.weight"} <= changed
    assert task.network.state_dict().keys() == TASKS["segment"]().network.state_dict().keys()


def test_edges_add_their_loss():
    batch = collate([sample(0), sample(1)])
    task = TASKS["segment and edges"]()
    logged = {}
    task.log = lambda name, value, **_: logged.__setitem__(name, value.item())
    both = task.training_step(batch, 0).item()
    classes = cross_entropy(task(batch["image"]), batch["label"]).item()
    assert both == pytest.approx(classes + 0.5 * logged["train/edge_loss"])
    assert logged["train/edge_loss"] > 0


def test_edges_need_features():
    with pytest.raises(ValueError, match=r"Conv2d does not hand out its features.*task\.edge_weight=0"):
        Segment(Parts(LABELS, segmenter=lambda: nn.Conv2d(3, 3, 1)), edge_weight=1.0)


@pytest.mark.slow
def test_learns_in_mixed_precision(make_task):
    losses = fit(make_task(), epochs=15, precision="bf16-mixed")
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.filterwarnings(r"ignore:.*in eval mode at the start of training")  # that is what freezing is
@pytest.mark.parametrize(
    ("kind", "frozen"),
    [
        ("refine hidden", "guidance"),
        ("joint", "segmenter"),
        ("joint", "refinement.guidance"),
        ("joint on a trunk", "segmenter.trunk"),
    ],
)
def test_what_is_frozen_stays_as_it_is(kind, frozen):
    task = TASKS[kind]()
    freeze(task.network.get_submodule(frozen))
    before = {name: tensor.clone() for name, tensor in task.network.state_dict().items()}
    trainer = make_trainer(max_epochs=3)
    trainer.fit(task, loader(batch_size=2), loader(batch_size=1))
    changed = {name for name, tensor in task.network.state_dict().items() if not torch.equal(tensor, before[name])}
    inside = {name for name in before if name.startswith(f"{frozen}.")}
    assert any(name.endswith("running_mean") for name in inside)
    assert not changed & inside
    assert changed == before.keys() - inside


def test_coarse_loss_keeps_the_coarse_output_a_segmentation():
    batch = collate([sample(0), sample(1)])
    with_coarse, without = (TASKS["joint"](coarse_weight=weight) for weight in (0.5, 0.0))
    without.load_state_dict(with_coarse.state_dict())
    logged = {}
    for task in (with_coarse, without):
        task.log = lambda name, value, **_: logged.__setitem__(name, value.item())
    total = with_coarse.training_step(batch, 0).item()
    refined = without.training_step(batch, 0).item()
    assert total == pytest.approx(refined + 0.5 * logged["train/coarse_loss"])
    assert logged["train/loss"] == pytest.approx(refined)


def test_validation_is_logged_under_what_checkpoints_watch(make_task):
    task = make_task()
    trainer = make_trainer()
    trainer.validate(task, loader(batch_size=1), verbose=False)
    assert task.monitor in trainer.callback_metrics
    names = {"val/coarse_mIoU"} if isinstance(task, Segment) else {"val/coarse_mIoU", "val/refined_mIoU"}
    assert {name for name in trainer.callback_metrics if name.startswith("val/")} == names


@pytest.mark.parametrize("size", [(35, 50)])
def test_testing_gives_results_and_hands_out_maps(make_task, size):
    class Outputs(pl.Callback):
        def on_test_batch_end(self, trainer, module, outputs, batch, *_):
            assert torch.is_inference_mode_enabled()
            assert outputs["labels"].keys() == methods
            for labels in outputs["labels"].values():
                assert labels.shape == (1, *size)
            for name in methods - {"oracle_8px"}:
                assert outputs[name].shape == (1, 3, *size)
                torch.testing.assert_close(outputs[name].sum(dim=1), torch.ones(1, *size))
                assert torch.equal(outputs[name].argmax(dim=1), outputs["labels"][name])
            seen.append(batch["name"][0])

    task, seen = make_task(), []
    methods = {"coarse", "oracle_8px"} if isinstance(task, Segment) else {"coarse", "refined", "oracle_8px"}
    trainer = make_trainer(Outputs())
    for _ in range(2):  # a second test counts nothing twice
        trainer.test(task, loader(1, size), verbose=False)
        assert task.results.keys() == methods
        assert task.results["coarse"]["mIoU"] > 0
        if "refined" in methods:
            assert len(task.comparison.seconds["refined"]) == 2
            assert task.results["refined"]["milliseconds"] > 0
    assert seen == ["shapes/0", "shapes/1"] * 2


def test_affinity_can_be_asked_for_while_testing():
    task = TASKS["refine hidden"]().eval()
    rows = []

    class Affinities(pl.Callback):
        def on_test_batch_end(self, trainer, module, outputs, batch, *_):
            assert torch.is_inference_mode_enabled()
            rows.append(module.affinity_of(batch["image"], outputs["coarse"], (12, 9)))

    make_trainer(Affinities()).test(task, loader(batch_size=1), verbose=False)
    for index, row in enumerate(rows):
        image, coarse = (sample(index)[name][None] for name in ("image", "coarse"))
        torch.testing.assert_close(row, task.network.affinity(image, coarse, (12, 9)))
        assert row[12, 9] > 0
    assert len(rows) == 2


def test_baselines_run_on_the_test_images():
    def most_likely(image, probabilities):
        return probabilities.argmax(0)

    for kind in ("refine", "joint"):
        task = TASKS[kind](baselines={"most_likely": most_likely})
        make_trainer().test(task, loader(batch_size=1), verbose=False)
        assert task.results["most_likely"]["mIoU"] == task.results["coarse"]["mIoU"]
        assert task.results["most_likely"]["changes"]["changed"] == 0


def test_classes_that_the_coarse_map_lacks_hand_on_what_they_have():
    coarse = torch.tensor([[0.8, 0.2], [0.1, 0.5], [0.1, 0.3]]).reshape(1, 3, 1, 2)
    refined = torch.tensor([[0.1, 0.2], [0.3, 0.2], [0.6, 0.6]]).reshape(1, 3, 1, 2)
    kept = keep_classes_of(coarse, refined.log()).exp()
    torch.testing.assert_close(kept, torch.tensor([[0.25, 0.5], [0.75, 0.5], [0, 0]]).reshape(1, 3, 1, 2))


def test_classes_are_kept_image_by_image():
    coarse = torch.eye(2).reshape(2, 2, 1, 1)
    kept = keep_classes_of(coarse, torch.full((2, 2, 1, 1), 0.5).log()).exp()
    assert kept.flatten().tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize("restrict", [True, False])
def test_restricted_results_hold_no_class_that_coarse_lacks(restrict):
    class AlwaysBar(nn.Module):
        def forward(self, image, coarse):
            return torch.tensor([0.1, 0.1, 0.8]).log().reshape(1, 3, 1, 1).expand_as(coarse)

    task = make(Refine, AlwaysBar(), restrict=restrict)
    batch = collate([sample(0)])
    batch["coarse"] = F.one_hot(batch["label"] % 2, 3).permute(0, 3, 1, 2).float()  # no bar
    chosen = task.test_step(batch, 0)["labels"]["refined"]
    assert ((chosen == 2).any()) == (not restrict)


@pytest.mark.parametrize("restrict", [True, False])
def test_baselines_are_restricted_as_the_refined_map_is(restrict):
    """Or one side would be kept from mistakes that the other may make."""
    given = []

    def remember(image, probabilities):
        given.append(probabilities)
        return probabilities.argmax(0)

    task = make(Refine, baselines={"most_likely": remember}, restrict=restrict)
    batch = collate([sample(0)])
    batch["coarse"] = torch.tensor([0.5, 0.3, 0.2]).reshape(1, 3, 1, 1).repeat(1, 1, 32, 32)
    batch["coarse"][..., :16] = torch.tensor([0.1, 0.7, 0.2]).reshape(3, 1, 1)  # bar is nowhere the most likely
    with torch.no_grad():
        outputs = task.eval().test_step(batch, 0)
    (probabilities,) = given
    left, right = probabilities[:, 0, 0], probabilities[:, 0, -1]
    expected = ([1 / 8, 7 / 8, 0], [5 / 8, 3 / 8, 0]) if restrict else ([0.1, 0.7, 0.2], [0.5, 0.3, 0.2])
    assert left.tolist() == pytest.approx(expected[0])
    assert right.tolist() == pytest.approx(expected[1])
    assert torch.equal(outputs["coarse"], batch["coarse"])
    assert torch.equal(outputs["labels"]["coarse"], batch["coarse"].argmax(dim=1))


@pytest.mark.parametrize("weight", [-0.5, float("inf"), "half"])
def test_a_coarse_weight_that_is_no_weight_is_refused(weight):
    with pytest.raises((TypeError, ValueError), match=f"task.coarse_weight must be .*; got {weight!r}"):
        TASKS["joint"](coarse_weight=weight)
