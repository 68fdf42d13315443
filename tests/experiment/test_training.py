"""What a training leaves behind, starts from, and refuses. In this process; the command line has its own tests."""

import json
import shutil

import pytest
import pytorch_lightning as pl
import torch
import yaml
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from spatialprop.experiment import training
from spatialprop.experiment.parts import keep_checkpoints, make_trainer
from spatialprop.experiment.training import train
from spatialprop.experiment.weights import fit
from tests.experiment.tiny import HERE, QUIET, composed, run, tiny_but, tiny_here, trained

pytestmark = QUIET


def test_a_run_leaves_what_the_readme_promises(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    made = metrics.pop("run")
    assert made["seconds"] > 0
    assert torch.__version__.startswith(made["versions"]["torch"])  # which leaves out the build
    assert "cores" in made["machine"]
    assert list(metrics) == ["coarse", "refined", "oracle_8px"]
    for scores in metrics.values():
        for name in ("mIoU", "pixel_accuracy", "mean_accuracy", "boundary_IoU"):
            assert 0 <= scores[name] <= 1
        assert len(scores["per_class_IoU"]) == len(json.loads((finished / "data.json").read_text())["classes"])
    assert yaml.safe_load((finished / "config.yaml").read_text())["trainer"]["max_epochs"] == 2
    assert (finished / "checkpoints" / "last.ckpt").is_file()
    assert load_file(finished / "checkpoints" / "network.safetensors")
    assert load_file(finished / "checkpoints" / "segmenter.safetensors")
    assert list((finished / "figures").glob("*.png"))
    assert "<html" in (finished / "report.html").read_text()
    assert not list(finished.rglob("*.part")), "something is half-written"


def test_checkpoints_load_safely(finished):
    """No partial function, config object or path may be in them: safe loading would refuse to resume."""
    for path in finished.rglob("*.ckpt"):
        torch.load(path, weights_only=True)


class Scored(pl.LightningModule):
    """Reaches one given score after the other, in epochs of a single batch."""

    def __init__(self, scores):
        super().__init__()
        self.scores = scores
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch).mean()

    def validation_step(self, batch, batch_idx):
        self.log("val/score", self.scores[self.current_epoch])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class DataOf(pl.LightningDataModule):
    def __init__(self, batches):
        super().__init__()
        self.train_dataloader = self.val_dataloader = lambda: batches


def scored_epochs(folder, scores, epochs, resumed=None):
    module, batches = Scored(scores), DataLoader(torch.ones(1, 1))
    config = composed("train", "callbacks.progress_bar=false", "trainer.accelerator=cpu", *HERE)
    callbacks = keep_checkpoints(config, folder, monitor="val/score")
    options = {"max_epochs": epochs, "check_val_every_n_epoch": 1, "logger": False}
    fit(make_trainer(config, callbacks=callbacks, **options), module, DataOf(batches), resumed)
    return torch.load(folder / "best.ckpt", weights_only=True)["epoch"]


def test_keeps_the_weights_of_the_epoch_with_the_highest_score(tmp_path):
    assert scored_epochs(tmp_path, [0.2, 0.9, 0.1, 0.5], 4) == 1


def test_a_moved_run_remembers_its_best_score(tmp_path):
    scores = [0.2, 0.9, 0.1, 0.95]
    assert scored_epochs(tmp_path / "here", scores, 2) == 1
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert scored_epochs(tmp_path / "there", scores, 3, tmp_path / "there" / "last.ckpt") == 1
    assert scored_epochs(tmp_path / "there", scores, 4, tmp_path / "there" / "last.ckpt") == 3


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_new_run_from_another_runs_checkpoint_keeps_a_best_of_its_own(tmp_path):
    scored_epochs(tmp_path / "one", [0.2, 0.9], 2)
    assert scored_epochs(tmp_path / "two", [0.2, 0.9, 0.1, 0.5], 4, tmp_path / "one" / "last.ckpt") == 3


@pytest.mark.parametrize("task", [["task=segment", "patches=full"], ["task=joint", "task.share_trunk=true"]], ids=str)
def test_tasks_run(task, tmp_path):
    metrics = train(composed("train", *tiny_here(*task), "trainer.max_epochs=1"), tmp_path / "run", tmp_path)
    assert ("refined" in metrics) == ("task=joint" in task)
    assert (tmp_path / "latest").resolve() == (tmp_path / "run").resolve()


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segmenter") / "run"
    train(composed("train", *tiny_here("task=segment", "patches=full"), "trainer.max_epochs=1"), folder)
    return folder


def test_the_same_seed_gives_the_same_weights(segmenter, tmp_path):
    torch.manual_seed(99)  # whatever was drawn before
    train(composed("train", *tiny_here("task=segment", "patches=full"), "trainer.max_epochs=1"), tmp_path)
    one, other = (load_file(folder / "checkpoints" / "network.safetensors") for folder in (segmenter, tmp_path))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("task", ["refine", "segment", "joint", "dilated_affinity"])
def test_training_starts_from_a_segmenter_that_was_trained_before(segmenter, task, tmp_path):
    still = ["optimizer.lr=0", "optimizer.weight_decay=0", "trainer.max_epochs=1"]
    options = tiny_here(f"task={task}", f"segmenter.checkpoint={segmenter}", *still)
    train(composed("train", *options), tmp_path / "run")
    name = "segmenter" if task == "refine" else "network"
    before = load_file(segmenter / "checkpoints" / "network.safetensors")
    after = load_file(tmp_path / "run" / "checkpoints" / f"{name}.safetensors")
    inside = "" if task in ("refine", "segment") else "segmenter."
    assert all(torch.equal(value, after[inside + name]) for name, value in before.items())
    assert not (tmp_path / "run" / "checkpoints" / "segmenter").exists(), "it was fitted again"


@pytest.mark.parametrize("task", ["segment", "joint", "dilated_affinity"])
def test_weights_of_another_segmenter_are_refused(segmenter, task, tmp_path):
    options = tiny_here(f"task={task}", f"segmenter.checkpoint={segmenter}", "segmenter.network.depth=2")
    with pytest.raises(ValueError, match="the weights do not fit the network"):
        train(composed("train", *options), tmp_path / "run")
    with pytest.raises(FileNotFoundError, match="checkpoint = nowhere does not exist"):
        train(composed("train", *options, "segmenter.checkpoint=nowhere"), tmp_path / "run")


WRONG = [
    ("propagation.connection=four_way", "three_way"),
    ("propagation.normalization=softmax", "clamp"),
    ("baselines=[crf]", "densecrf"),
    ("loader.batch_size=1000", "lower loader.batch_size"),
    ("patches.size=0", "patches.size must be at least 1"),
    ("optimizer.lr=-1", "Invalid learning rate"),
    ("+scheduler.warm=0.1", "warm"),
    ("+task.stride=3", "stride"),
    ("logger.kind=tensorboard", "wandb"),
    ("trainer.max_epochs=two", "trainer.max_epochs must be a whole number, -1 or more; got 'two'"),
    ("segmenter.fit.validate_every=0", "segmenter.fit.validate_every must be a whole number, 1 or more; got 0"),
    ("limit.images=0", "limit.images must be a whole number, 1 or more; got 0"),
    ("callbacks.weights=newest", "weights must be best or last; got 'newest'"),
    ("loader.memory=-1", "memory must be a whole number of megabytes"),
    ("ckpt_path=missing.ckpt", "does not exist"),
    ("segmenter.checkpoint=missing.ckpt", "does not exist"),
    ("segmenter=files", "has no coarse map"),
    ("data=folder", "data.root"),
]


@pytest.mark.parametrize(("override", "told"), WRONG)
def test_a_wrong_value_says_what_is_right(override, told, tmp_path):
    with pytest.raises(Exception) as raised:  # noqa: PT011
        train(composed("train", *tiny_here(override)), tmp_path / "run", tmp_path)
    assert told in f"{raised.value} {raised.value.__cause__}"
    assert not list(tmp_path.rglob("*.ckpt")), "it was not said before a segmenter was fitted"
    if override not in ("logger.kind=tensorboard", "segmenter=files"):  # which are found out late
        assert not (tmp_path / "latest").is_symlink()


@pytest.mark.parametrize("weights", ["best", "last"])
def test_the_weights_that_are_kept(weights, tmp_path, monkeypatch):
    restored = []
    monkeypatch.setattr(training, "restore", lambda network, _: restored.append(network))
    options = tiny_here("task=segment", "patches=full", "trainer.max_epochs=1", f"callbacks.weights={weights}")
    train(composed("train", *options), tmp_path / "run")
    assert len(restored) == (weights == "best")


def test_limits_hold_for_images_and_fitting(tmp_path):
    options = tiny_here("limit.images=2", "limit.fit_epochs=1", "loader.batch_size=2", "trainer.max_epochs=1")
    train(composed("train", *options), tmp_path / "run")
    assert len(list((tmp_path / "run" / "coarse" / "train").rglob("*.npz"))) == 2
    last = torch.load(tmp_path / "run" / "checkpoints" / "segmenter" / "last.ckpt", weights_only=True)
    assert last["epoch"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("task", [["task=joint"], []], ids=str)
def test_the_command_line_prints_the_folder_last(task, tmp_path):
    folder = trained(tmp_path, *task)
    assert (folder / "metrics.json").is_file()
    assert (tmp_path / "outputs" / "latest").resolve() == folder.resolve()
    again = run("train.py", *tiny_but(*task), "ckpt_path=last", folder=tmp_path)
    assert (tmp_path / again.stdout.strip().splitlines()[-1]).resolve() == folder.resolve()
