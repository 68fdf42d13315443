"""From a config to the parts of an experiment."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig, ListConfig, OmegaConf
from pytorch_lightning.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger, Logger
from torch import nn

from spatialprop import baselines
from spatialprop.baselines import Baseline
from spatialprop.callbacks import ResumeCheckpoint
from spatialprop.data import Example, Examples, LabelSet, Patches, SimulatedCoarse, Splits, WithCoarse, coarse_map
from spatialprop.data.loading.module import DataModule
from spatialprop.nn import AffinityPropagation, DilatedAffinityNetwork, JointNetwork, RefinementNetwork
from spatialprop.tasks import DilatedAffinity, Joint, Refine, Segment
from spatialprop.tasks.optimization import Optimization
from spatialprop.tasks.windows import Windows

Task = Segment | Refine | Joint | DilatedAffinity


def make_splits(config: DictConfig) -> Splits:
    """The data set that the config names."""
    splits: Splits = instantiate(config.data)
    return splits


def make_segmenter(config: DictConfig, labels: LabelSet) -> nn.Module:
    """The coarse network that the config names."""
    if config.segmenter.network is None:
        raise ValueError("this needs a segmenter with a network of its own; choose one, such as segmenter=unet")
    network: nn.Module = instantiate(config.segmenter.network)(len(labels.classes))
    return network


def make_task(
    config: DictConfig, labels: LabelSet, compared_with: Mapping[str, Baseline], optimization: Optimization
) -> Task:
    """What is trained, and how it is scored."""
    loss = instantiate(config.task.loss)
    kind = config.task.kind
    windows = Windows(config.task.get("window"), config.task.get("overlap", Windows.overlap))
    if kind == "segment":
        return Segment(make_segmenter(config, labels), labels, optimization, loss, windows)
    if kind == "dilated_affinity":
        network = _dilated_affinity_network(config, labels)
        return DilatedAffinity(
            network,
            labels,
            optimization,
            loss,
            affinity_weight=config.task.affinity_weight,
            train_through=config.task.train_through,
            coarse_weight=config.task.coarse_weight,
            background=config.task.background,
            curve=_as_tuple(config.task.curve),
            baselines=compared_with,
        )
    guidance = instantiate(config.guidance.network)
    propagation: dict[str, Any] = dict(config.propagation)
    propagation |= {"hidden": config.guidance.hidden, "num_classes": len(labels.classes)}
    propagation["hints"] = list(config.guidance.get("hints", ()))
    propagation["groups"] = config.guidance.get("groups")
    if kind == "refine":
        refinement = RefinementNetwork(guidance, **propagation)
        return Refine(refinement, labels, optimization, loss, compared_with, config.task.restrict, windows)
    if kind == "joint":
        joint = JointNetwork(
            make_segmenter(config, labels), None if config.task.share_trunk else guidance, **propagation
        )
        return Joint(joint, labels, optimization, loss, config.task.coarse_weight, compared_with, windows)
    raise ValueError(f"task.kind must be segment, refine, joint or dilated_affinity; got {kind!r}")


def _dilated_affinity_network(config: DictConfig, labels: LabelSet) -> DilatedAffinityNetwork:
    """The segmenter with as much on top as the config's losses and tests need."""
    task = config.task
    neighbourhood: dict[str, Any] = {"dilations": _as_tuple(task.dilations), "kernel": task.kernel}
    propagation = None
    if task.propagation != "none":
        averaging = {name: task[name] for name in ("steps", "power", "own_weight", "merge")}
        backend = task.get("backend", "auto")  # which runs of before do not name
        propagation = AffinityPropagation(task.propagation, **neighbourhood, **averaging, backend=backend)
    return DilatedAffinityNetwork(
        make_segmenter(config, labels),
        head=propagation is not None or task.affinity_weight != 0,
        propagation=propagation,
        width=task.width,
        stride=task.stride,
        **neighbourhood,
    )


def _as_tuple(value: Any) -> Any:
    """A list of the config as Python writes it; what is no list is left to whoever says what is wrong with it."""
    return tuple(value) if isinstance(value, ListConfig) else value


def make_optimization(config: DictConfig) -> Optimization:
    """How the task is trained."""
    optimizer, schedule = instantiate(config.optimizer), instantiate(config.scheduler)
    # What these refuse they say now, not after a segmenter has been fitted.
    optimizer([torch.zeros(1, requires_grad=True)])
    schedule(0.5)
    return Optimization(optimizer, schedule, config.guidance.get("pretrained_factor", 1.0))


def make_baselines(config: DictConfig) -> dict[str, Baseline]:
    """What the task is compared with: those that the config names, or those that are installed."""
    wanted = config.baselines
    if wanted is None:
        return {}
    if isinstance(wanted, str):
        if wanted != "installed":
            raise ValueError(f"baselines must be installed, [{wanted}] or {{{wanted}: {{...}}}}; got {wanted}")
        return baselines.make_all(baselines.installed())
    return baselines.make_all(OmegaConf.to_container(wanted, resolve=True))  # type: ignore[arg-type]


def make_data(config: DictConfig, splits: Splits, patches: Patches | None = None, **loading: Any) -> DataModule:
    """The loaders of the task."""
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
    """Examples whose coarse maps come with them; what is missing is simulated if the config says so."""
    if not config.segmenter.simulate_missing:
        return WithCoarse(examples, coarse_map)
    return WithCoarse(examples, partial(_stored_or, SimulatedCoarse(len(examples.labels.classes))))


def _stored_or(simulated: SimulatedCoarse, example: Example) -> NDArray[np.uint8]:
    return simulated(example) if example.coarse is None else coarse_map(example)


def make_loggers(config: DictConfig, folder: Path, stage: str = "csv") -> list[Logger]:
    """Where the curves go: `<folder>/<stage>/version_0/metrics.csv`, and wandb if the config says so.

    What a resume adds goes to version_1, and so on.
    """
    loggers: list[Logger] = [CSVLogger(folder, name=stage, flush_logs_every_n_steps=20)]
    if config.logger.kind == "wandb":
        if stage == "csv":
            from spatialprop.experiment.wandb_logging import make_wandb_logger

            loggers.append(make_wandb_logger(config, folder))
    elif config.logger.kind != "csv":
        raise ValueError(f"logger.kind must be csv or wandb; got {config.logger.kind!r}")
    return loggers


def check_lengths(config: DictConfig) -> None:
    """Refuse what a trainer would stumble over only after an hour."""
    least = {
        "trainer.max_epochs": -1,  # no end
        "trainer.max_steps": -1,
        "trainer.check_val_every_n_epoch": 1,
        "segmenter.fit.max_epochs": 1,
        "segmenter.fit.validate_every": 1,
    }
    for key, smallest in least.items():
        value = OmegaConf.select(config, key)
        if value is not None and (not isinstance(value, int) or value < smallest):
            raise ValueError(f"{key} must be a whole number, {smallest} or more; got {value!r}")


def make_trainer(config: DictConfig, *, callbacks: Sequence[Callback], **changed: Any) -> pl.Trainer:
    """A trainer as the config has it, with a progress bar if the config wants one."""
    options: dict[str, Any] = OmegaConf.to_container(config.trainer, resolve=True)  # type: ignore[assignment]
    progress = [TQDMProgressBar(refresh_rate=10)] if config.callbacks.progress_bar else []
    return pl.Trainer(
        **{**options, **changed},
        callbacks=[*callbacks, *progress],
        enable_progress_bar=bool(progress),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # ours give every process its share, and none twice
    )


def keep_checkpoints(config: DictConfig, folder: Path, *, monitor: str) -> list[Callback]:
    """Keep what a run can go on from, and the weights that scored best."""
    best = ModelCheckpoint(
        folder, "best", monitor=monitor, mode="max", save_weights_only=True, enable_version_counter=False
    )
    return [ResumeCheckpoint(folder, config.callbacks.checkpoint_every_n_batches), best]


def load_weights_of(path: Path) -> dict[str, torch.Tensor]:
    """The network's weights in a checkpoint of a task."""
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    return {name.removeprefix("network."): value for name, value in state.items() if name.startswith("network.")}
