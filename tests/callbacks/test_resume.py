"""Checkpoints from which training goes on as if it had never stopped."""

import shutil
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from spatialprop.callbacks import ResumeCheckpoint

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),  # ten numbers need none
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),  # Lightning calls what torch has renamed
    pytest.mark.filterwarnings("ignore:.*dataloader is not resumable"),  # all its batches are the same
]

BATCHES, EPOCHS = 4, 2


class Forgetful(pl.LightningModule):
    """Draws random numbers in every step, and validates."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 1)
        self.validated = 0

    def training_step(self, batch, batch_idx):
        loss = self.layer(F.dropout(batch, 0.5)).square().mean()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.validated += 1

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.1)


class Snapshots(pl.Callback):
    """Looks at the checkpoint at the end of each batch and each epoch."""

    def __init__(self, path: Path, keep: Path):
        self.path, self.keep, self.steps = path, keep, []

    def look(self):
        if not self.path.exists():
            self.steps.append(None)
            return
        step = torch.load(self.path, weights_only=True)["global_step"]
        self.steps.append(step)
        shutil.copy(self.path, self.keep / f"{step}.ckpt")

    def on_train_batch_end(self, *_):
        self.look()

    def on_train_epoch_end(self, *_):
        self.look()


def loader():
    generator = torch.Generator().manual_seed(0)  # of its own, as our loaders have
    return DataLoader(list(torch.ones(2 * BATCHES, 6)), batch_size=2, generator=generator)


def train(folder, *, every_n_batches=1, ckpt_path=None, seed=0, callbacks=(), **options):
    torch.manual_seed(seed)
    module = Forgetful()
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=EPOCHS, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0,
        callbacks=[ResumeCheckpoint(folder, every_n_batches), *callbacks], **options,
    )  # fmt: skip
    trainer.fit(module, loader(), loader(), ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
    return module


@pytest.mark.parametrize(
    ("every_n_batches", "expected"),
    [
        # After each batch, and after the epoch: never at an epoch's last batch, but at its end.
        (1, [1, 2, 3, 3, 4, 5, 6, 7, 7, 8]),
        (2, [None, 2, 2, 2, 4, 4, 6, 6, 6, 8]),
        (3, [None, None, 3, 3, 4, 4, 6, 6, 6, 8]),
        (100, [None, None, None, None, 4, 4, 4, 4, 4, 8]),
    ],
)
def test_keeps_a_checkpoint_every_so_many_batches_and_at_the_end_of_epochs(every_n_batches, expected, tmp_path):
    snapshots = Snapshots(tmp_path / "last.ckpt", tmp_path)
    train(tmp_path, every_n_batches=every_n_batches, callbacks=[snapshots])
    assert snapshots.steps == expected
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".ckpt"]


def test_resume_from_any_checkpoint_is_exact(tmp_path):
    snapshots = Snapshots(tmp_path / "run" / "last.ckpt", tmp_path)
    (tmp_path / "run").mkdir()
    uninterrupted = train(tmp_path / "run", callbacks=[snapshots])
    random_after = torch.rand(3)
    checkpoints = sorted(tmp_path.glob("*.ckpt"))
    assert [path.stem for path in checkpoints] == [str(step) for step in range(1, 9)]
    for checkpoint in checkpoints[:-1]:
        resumed = train(tmp_path / "again", ckpt_path=checkpoint, seed=99)
        assert torch.equal(resumed.layer.weight, uninterrupted.layer.weight), checkpoint.name
        assert torch.equal(torch.rand(3), random_after), checkpoint.name
        epochs_left = EPOCHS - (int(checkpoint.stem) // BATCHES)
        assert resumed.validated == BATCHES * epochs_left


def test_killed_while_writing_leaves_the_last_checkpoint_whole(tmp_path, monkeypatch):
    train(tmp_path)
    before = (tmp_path / "last.ckpt").read_bytes()

    def killed(trainer, path, **_):
        Path(path).write_bytes(before[: len(before) // 2])
        raise KeyError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(pl.Trainer, "save_checkpoint", killed)
        with pytest.raises(KeyError):
            train(tmp_path, seed=1)
    assert (tmp_path / "last.ckpt").read_bytes() == before
    train(tmp_path, seed=2)  # what was left behind is in nobody's way
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.filterwarnings("ignore:.*fast_dev_run")
def test_trying_out_keeps_nothing(tmp_path):
    train(tmp_path, fast_dev_run=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("every_n_batches", [0, -1])
def test_impossible_interval_is_named(every_n_batches, tmp_path):
    with pytest.raises(ValueError, match=f"must be at least 1; got {every_n_batches}"):
        ResumeCheckpoint(tmp_path, every_n_batches)
