"""Checkpoints from which training resumes exactly."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor


class ResumeCheckpoint(pl.Callback):
    """Write `last.ckpt` at the end of every epoch and at regular intervals in between.

    Lightning restores weights, optimizer and progress; this adds the state of the random number generator. The data
    need no state, see `ShuffledBatches`. Nothing is written after an epoch's last batch: a run resumed from there would
    skip the validation that follows.

    Args:
        folder: The folder of `last.ckpt`.
        every_n_batches: The interval, which is the most work that can be lost.
    """

    def __init__(self, folder: Path, every_n_batches: int) -> None:
        if every_n_batches < 1:
            raise ValueError(f"callbacks.checkpoint_every_n_batches must be at least 1; got {every_n_batches}")
        self.path = folder / "last.ckpt"
        self._every_n_batches = every_n_batches
        self._random_state: Tensor | None = None

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if self._random_state is not None:
            torch.set_rng_state(self._random_state)
            self._random_state = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        due = trainer.fit_loop.total_batch_idx % self._every_n_batches == self._every_n_batches - 1
        if due and not trainer.is_last_batch:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        # Lightning writes into the folder for temporary files and moves the file from there, which is a copy where
        # that folder lies on another disk: a process killed then would leave half a checkpoint.
        beside = self.path.with_name(f".{self.path.name}.part")
        try:
            trainer.save_checkpoint(beside, weights_only=False)  # with the optimizer
            if trainer.is_global_zero:
                beside.replace(self.path)
        except (OSError, RuntimeError) as error:  # the latter is PyTorch's on a full disk, and names no file
            raise OSError(f"{self.path} cannot be written: {error}") from error
        finally:
            if trainer.is_global_zero:
                beside.unlink(missing_ok=True)

    def state_dict(self) -> dict[str, Any]:
        return {"random_state": torch.get_rng_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._random_state = state["random_state"]


class BestCheckpoint(ModelCheckpoint):
    """Keep `best.ckpt`, the weights with the best score; a run goes on with that score wherever its folder lies.

    Lightning forgets the best score when the path of the folder has changed, and lets a worse epoch replace the file.

    Args:
        folder: The folder of `best.ckpt`.
        monitor: The score.
        mode: Whether the highest ("max") or the lowest ("min") is best.
    """

    def __init__(self, folder: Path, monitor: str, mode: str = "max") -> None:
        super().__init__(
            folder, "best", monitor=monitor, mode=mode, save_weights_only=True, enable_version_counter=False
        )
        self._resumed: Path | None = None

    @property
    def state_key(self) -> str:
        """The key of its state in a checkpoint: Lightning's own, under which older checkpoints have it."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def on_load_checkpoint(self, trainer: pl.Trainer, *_: Any) -> None:
        self._resumed = None if trainer.ckpt_path is None else Path(trainer.ckpt_path)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        here = Path(str(self.dirpath))
        if self._resumed is not None and self._resumed.parent.resolve() == here.resolve():  # not another run's
            state = {
                **state,
                "dirpath": self.dirpath,
                "best_k_models": {_moved(path, here): score for path, score in state["best_k_models"].items()},
                **{key: _moved(state[key], here) for key in ("best_model_path", "kth_best_model_path")},
            }
        super().load_state_dict(state)


def _moved(path: str, folder: Path) -> str:
    return str(folder / Path(path).name) if path else path
