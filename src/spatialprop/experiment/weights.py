"""Weights in runs, checkpoints and files: written, read, and given to a network to start from."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from safetensors.torch import save
from torch import Tensor, nn

from spatialprop.errors import InputError
from spatialprop.experiment.run_folder import RunFolder
from spatialprop.files import write_file
from spatialprop.nn.published import read_state, read_weights
from spatialprop.nn.refinement import RefinementNetwork
from spatialprop.refiner import describe, load_network
from spatialprop.tasks import Task
from spatialprop.tasks.optimization import restore

log = logging.getLogger(__name__)

_RESUMED = (
    "state_dict", "optimizer_states", "lr_schedulers", "callbacks", "loops", "epoch", "global_step",
    "pytorch-lightning_version",
)  # fmt: skip
_HEAD = "head."  # the last layer of a guidance network, whose outputs depend on these:
_GATES = ("connection", "groups", "normalization", "separate_gates", "directions")


def keep_weights(network: nn.Module, path: Path) -> None:
    """Write a network's weights in one piece; each process of a run may."""
    write_file(path, save({name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}))


def load_weights_of(checkpoint: Path) -> dict[str, Tensor]:
    """The network's weights in a checkpoint of a task."""
    return _part(read_state(checkpoint), "network")


def _part(state: dict[str, Tensor], module: str) -> dict[str, Tensor]:
    """The weights of one module of a task."""
    return {name.removeprefix(f"{module}."): value for name, value in state.items() if name.startswith(f"{module}.")}


def fit(trainer: pl.Trainer, task: Task, data: pl.LightningDataModule, checkpoint: Path | None) -> None:
    """Train a task, from a checkpoint on if there is one; every error in the checkpoint names the file."""
    if checkpoint is None:
        trainer.fit(task, data)
        return
    content = read_weights(checkpoint)
    missing = [key for key in _RESUMED if not isinstance(content, Mapping) or key not in content]
    if missing:
        raise ValueError(
            f"{checkpoint} cannot be resumed from: it lacks {', '.join(missing)}; give a last.ckpt, or start from its "
            f"weights alone in a new run"
        )
    begun = _Begun()
    trainer.callbacks.append(begun)  # type: ignore[attr-defined]
    try:
        trainer.fit(task, data, ckpt_path=checkpoint, weights_only=True)
    except Exception as error:
        if begun.begun:
            raise
        reason = str(error).split("\n", 1)[0] or type(error).__name__
        raise ValueError(f"{checkpoint} cannot be resumed from: {reason}; begin a new run") from error


class _Begun(pl.Callback):
    """Whether a fit has come to its training: what fails before that is the checkpoint."""

    begun = False

    def on_train_start(self, *_: Any) -> None:
        self.begun = True


def trained_weights(run: RunFolder) -> dict[str, Tensor]:
    """The weights that a run ended with, or those of its best or newest checkpoint so far."""
    if run.network.is_file():
        return read_state(run.network)
    for checkpoint in (run.best, run.last):
        if checkpoint.is_file():
            return load_weights_of(checkpoint)
    raise FileNotFoundError(f"{run.checkpoints} holds no weights: the run was stopped before its first checkpoint")


def segmenter_weights(source: Path) -> dict[str, Tensor]:
    """Weights of a segmenter, from a file or from the run that trained it."""
    if source.is_dir():
        run = RunFolder(source)
        found = [path for path in (run.segmenter, run.network) if path.is_file()]
        if not found:
            raise FileNotFoundError(f"segmenter.checkpoint = {source} is a folder without {run.network.name}")
        return read_state(found[0])
    if not source.is_file():
        raise FileNotFoundError(f"segmenter.checkpoint = {source} does not exist; give a run's folder or a file")
    if source.suffix == ".safetensors":
        return read_state(source)
    state = read_state(source)
    return _part(state, "segmenter") or _part(state, "network")


def frozen_weights(run: RunFolder) -> dict[str, Tensor] | None:
    """The weights of the segmenter whose maps a run refined; None if it holds none."""
    if run.segmenter.is_file():
        return read_state(run.segmenter)
    for checkpoint in (run.best, run.last):  # earlier versions kept no segmenter in them
        if checkpoint.is_file() and (found := _part(read_state(checkpoint), "segmenter")):
            return found
    return None


def start_segmenter(task: Task, source: str) -> None:
    """Give the segmenter that a task trains, if any, the weights of a run or a file."""
    if task.trained_segmenter is not None:
        restore(task.trained_segmenter, segmenter_weights(Path(source)))
        log.info("The segmenter starts from %s", source)


def start_guidance(task: Task, source: str) -> None:
    """Give the guidance network of a task the weights of a refiner's.

    If the propagation needs other gates, such as those of another connection, the last layer keeps its initial weights.

    Args:
        task: A task with a guidance network of its own.
        source: "small", or a .safetensors file of `spatialprop export`.
    """
    refinement = task.refinement
    if refinement is None:
        raise ValueError(
            f"guidance.checkpoint={source} is for a guidance network, which this task has not; use task=refine, or "
            f"task=joint with task.share_trunk=false, or set guidance.checkpoint=null"
        )
    try:
        known, _ = load_network(source)
    except (OSError, InputError) as error:
        raise ValueError(
            f"guidance.checkpoint: {error} (spatialprop export RUN --to x.safetensors writes one)"
        ) from None
    if not isinstance(known, RefinementNetwork):
        raise ValueError(
            f"guidance.checkpoint={source} belongs to a network of another kind, which the refiner alone uses; give "
            f"small, or weights that `spatialprop export RUN --to x.safetensors` wrote, or null"
        )
    own, given = refinement.guidance.state_dict(), known.guidance.state_dict()
    same_gates = all(getattr(known.propagation, name) == getattr(refinement.propagation, name) for name in _GATES)
    taken = {name: value for name, value in given.items() if same_gates or not name.startswith(_HEAD)}
    fits = all(name in own and own[name].shape == value.shape for name, value in taken.items())
    missing = [name for name in own if name not in taken and not name.startswith(_HEAD)]
    if not fits or missing or known.hints != refinement.hints:
        settings = {**describe(known)["guidance"], "hints": list(known.hints)}
        raise ValueError(
            f"guidance.checkpoint={source} belongs to another guidance network, one with {settings}; choose that, or "
            f"guidance.checkpoint=null"
        )
    refinement.guidance.load_state_dict(taken, strict=False)
    log.info("The guidance starts from %s%s", source, "" if same_gates else ", except for its last layer")
