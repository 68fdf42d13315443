"""Make the parts of an experiment from its config."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Callback, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger, Logger
from pytorch_lightning.plugins.environments import SLURMEnvironment, TorchElasticEnvironment  # type: ignore[attr-defined]  # its documented place
from torch import nn

from spatialprop import baselines
from spatialprop.baselines import Baseline
from spatialprop.callbacks import BestCheckpoint, ResumeCheckpoint
from spatialprop.data import (
    Example,
    Examples,
    LabelSet,
    Patches,
    SimulatedCoarse,
    Splits,
    ValueSplits,
    WithCoarse,
    coarse_map,
)
from spatialprop.data.loading.module import DataModule
from spatialprop.data.values.loading import ValueModule
from spatialprop.tasks import Parts, Task, Values
from spatialprop.tasks.optimization import Optimization


def make_splits(config: DictConfig) -> Splits:
    """The data set that the config names."""
    splits: Splits | ValueSplits = instantiate(config.data)
    values = "task" in config and issubclass(task_class(config), Values)
    if "task" in config and isinstance(splits, ValueSplits) != values:
        fitting = "data=matting or data=colorize" if values else "data=synthetic or another with labels"
        raise ValueError(f"task={config.task.get('name')} cannot use {splits.labels.name}; choose {fitting}")
    if isinstance(splits, ValueSplits):
        return cast(Splits, splits)  # the trainer's limits do
    most = OmegaConf.select(config, "limit.images")
    return splits if most is None else Splits(*(FirstOf(examples, most) for examples in splits))


def make_segmenter(config: DictConfig, labels: LabelSet) -> nn.Module:
    """The coarse network that the config names."""
    if config.segmenter.network is None:
        raise ValueError("this needs a segmenter with a network of its own; choose one, such as segmenter=unet")
    network: nn.Module = instantiate(config.segmenter.network)(len(labels.classes))
    return network


def make_frozen_segmenter(config: DictConfig, labels: LabelSet) -> nn.Module:
    """The coarse network of a refinement, with initial weights that depend on the seed alone: one for all runs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return make_segmenter(config, labels)


def task_class(config: DictConfig) -> type[Task]:
    """The class of the task that the config names."""
    if "_target_" not in config.task:
        raise ValueError(
            f"task has no _target_ but kind = {config.task.get('kind')!r}: this config was written by an earlier "
            f"version of spatialprop; train again, or replace kind by the first two lines of conf/task/<task>.yaml"
        )
    found = get_class(config.task._target_)
    if not issubclass(found, Task):
        raise TypeError(f"task._target_ must be a subclass of spatialprop.tasks.Task; got {config.task._target_}")
    return found


def make_task(
    config: DictConfig,
    labels: LabelSet,
    compared_with: Mapping[str, Baseline] | None = None,
    optimization: Optimization | None = None,
) -> Task:
    """The task that the config names; without `optimization` it cannot be trained."""
    make = make_frozen_segmenter if task_class(config).takes_coarse else make_segmenter
    parts = Parts(
        labels,
        optimization,
        segmenter=None if config.segmenter.network is None else partial(make, config, labels),
        guidance=lambda *arguments, **options: instantiate(config.guidance.network)(*arguments, **options),
        propagation={
            **config.propagation,
            "num_classes": len(labels.classes),
            "hidden": config.guidance.hidden,
            "hints": list(config.guidance.get("hints", ())),
            "groups": config.guidance.get("groups"),
        },
        baselines=compared_with or {},
    )
    try:
        task: Task = instantiate(config.task, parts, _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, ValueError | TypeError | OSError):
            raise error.__cause__ from None  # these name the setting; Hydra's message buries it
        raise
    return task


def make_optimization(config: DictConfig) -> Optimization:
    """The optimizer and the schedule that the config names."""
    optimizer, schedule = instantiate(config.optimizer), instantiate(config.scheduler)
    # Wrong settings are refused now, not after a segmenter has been fitted.
    optimizer([torch.zeros(1, requires_grad=True)])
    schedule(0.5)
    return Optimization(optimizer, schedule, config.guidance.get("pretrained_factor", 1.0))


def make_baselines(config: DictConfig, task: type[Task] | None = None) -> dict[str, Baseline]:
    """The baselines that the config names for a task, its own by default, or those that are installed."""
    values = issubclass(task or task_class(config), Values)
    wanted = config.baselines
    if wanted is None:
        return {}
    if isinstance(wanted, str):
        if wanted != "installed":
            raise ValueError(f"baselines must be installed, [{wanted}] or {{{wanted}: {{...}}}}; got {wanted}")
        return baselines.make_all(baselines.installed(values=values), values=values)
    return baselines.make_all(OmegaConf.to_container(wanted, resolve=True), values=values)  # type: ignore[arg-type]


class FirstOf:
    """The first so many examples of others."""

    def __init__(self, examples: Examples, count: int) -> None:
        self._examples = examples
        self.labels = examples.labels
        self.names = examples.names[:count]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._examples[index]


def make_data(config: DictConfig, splits: Splits, patches: Patches | None = None, **loading: Any) -> DataModule:
    """The loaders of the task."""
    if isinstance(splits, ValueSplits):  # they draw patches of their own
        known = ("batch_size", "workers", "repeat_batches")
        return ValueModule(splits, seed=config.seed, **{key: config.loader[key] for key in known})
    return DataModule(
        splits,
        patches or instantiate(config.patches),
        instantiate(config.augment),
        seed=config.seed,
        degrade=instantiate(config.get("degrade")),
        rough=instantiate(config.get("rough")),
        **{**dict(config.loader), **loading},
    )


def with_stored_coarse(config: DictConfig, examples: Examples) -> Examples:
    """Examples with the coarse maps of their data set; missing ones are simulated if the config says so."""
    if not config.segmenter.simulate_missing:
        return WithCoarse(examples, coarse_map)
    return WithCoarse(examples, partial(_stored_or, SimulatedCoarse(len(examples.labels.classes))))


def _stored_or(simulated: SimulatedCoarse, example: Example) -> NDArray[np.uint8]:
    return simulated(example) if example.coarse is None else coarse_map(example)


def cache_of(config: DictConfig) -> str:
    """Where the maps of the frozen segmenter are kept."""
    cache = config.segmenter.get("cache", "files")  # earlier versions knew no other
    if cache not in ("files", "memory", "none"):
        raise ValueError(f"segmenter.cache must be files, memory or none; got {cache!r}")
    return str(cache)


def keeps_maps(config: DictConfig) -> bool:
    """Whether coarse maps are there before a step begins."""
    return config.segmenter.network is None or cache_of(config) != "none"


def make_loggers(config: DictConfig, folder: Path, stage: str = "csv") -> list[Logger]:
    """The loggers: `<folder>/<stage>/version_0/metrics.csv`, and wandb if the config says so.

    A resumed run writes to version_1, and so on.
    """
    loggers: list[Logger] = [CSVLogger(folder, name=stage, flush_logs_every_n_steps=20)]
    if config.logger.kind == "wandb":
        if stage == "csv":
            from spatialprop.experiment.wandb_logging import make_wandb_logger

            loggers.append(make_wandb_logger(config, folder))
    elif config.logger.kind != "csv":
        raise ValueError(f"logger.kind must be csv or wandb; got {config.logger.kind!r}")
    return loggers


def _quieten_lightning() -> None:
    """Silence Lightning's notes on its own workings; warnings and profiles stay."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.getLogger("pytorch_lightning.profilers").setLevel(logging.INFO)  # the output of trainer.profiler
    # Batches follow from the number of steps done, so that every loader here resumes; Lightning cannot know that.
    resuming = r"You're resuming from a checkpoint .* your dataloader is not resumable"
    frozen = r"Found \d+ module\(s\) in eval mode at the start of training"  # the segmenter of a refinement
    for message in (r".*LeafSpec.*", r"Checkpoint directory .* exists and is not empty", resuming, frozen):
        warnings.filterwarnings("ignore", message)


def make_trainer(config: DictConfig, *, callbacks: Sequence[Callback], **changed: Any) -> pl.Trainer:
    """The trainer that the config describes."""
    _quieten_lightning()
    options: dict[str, Any] = OmegaConf.to_container(config.trainer, resolve=True)  # type: ignore[assignment]
    progress = [TQDMProgressBar(refresh_rate=10)] if config.callbacks.progress_bar else []
    if SLURMEnvironment.detect() and not TorchElasticEnvironment.detect():  # torchrun may run in a job, too
        # At a signal Lightning would write a checkpoint in the middle of a step, and into the current folder, where the
        # next run would start from it. A requeued job goes on from last.ckpt.
        options.setdefault("plugins", [SLURMEnvironment(auto_requeue=False)])
    return pl.Trainer(
        **{**options, **changed},
        callbacks=[*callbacks, *progress],
        enable_progress_bar=bool(progress),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # ours give each process its share, without duplicates
    )


def keep_checkpoints(config: DictConfig, folder: Path, *, monitor: str, mode: str = "max") -> list[Callback]:
    """Callbacks that keep the newest checkpoint and the best weights."""
    best = BestCheckpoint(folder, monitor, mode)
    return [ResumeCheckpoint(folder, config.callbacks.checkpoint_every_n_batches), best]
