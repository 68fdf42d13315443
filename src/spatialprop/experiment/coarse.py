"""The coarse maps that a refinement starts from: the frozen segmenter, fitted or loaded, and its maps that are kept."""

import hashlib
import json
import logging
from pathlib import Path

import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.optim import AdamW
from tqdm import tqdm

from spatialprop.data import CoarseFiles, CoarseMemory, Example, Examples, LabelSet, Splits, WholeImages, WithCoarse
from spatialprop.experiment.parts import (
    cache_of,
    keep_checkpoints,
    make_data,
    make_loggers,
    make_segmenter,
    make_trainer,
    with_stored_coarse,
)
from spatialprop.experiment.run_folder import RunFolder
from spatialprop.experiment.weights import fit, frozen_weights, keep_weights, load_weights_of, segmenter_weights
from spatialprop.nn.published import read_state
from spatialprop.nn.segmenters import coarse_probabilities
from spatialprop.nn.segmenters.probabilities import STRIDE
from spatialprop.tasks import Parts, Segment
from spatialprop.tasks.optimization import Optimization, freeze, restore
from spatialprop.tasks.schedules import cosine

log = logging.getLogger(__name__)


def with_coarse(config: DictConfig, examples: Examples, network: nn.Module | None, folder: Path) -> Examples:
    """Examples with the coarse maps of a network or, without one, of the data set.

    `segmenter.cache` says where a network's maps are kept: in `folder`, in memory, or nowhere, where the task makes
    them in each step and the examples stay as they are.
    """
    if network is None:
        return with_stored_coarse(config, examples)
    cache = cache_of(config)
    if cache == "none":
        return examples
    maps = CoarseFiles(folder, examples.labels) if cache == "files" else CoarseMemory()
    device = coarse_device(config)
    shown = config.callbacks.progress_bar
    predict(network.to(device), examples, maps, device, stride=map_stride(config), progress_bar=shown)
    return WithCoarse(examples, maps)


def map_stride(config: DictConfig) -> int:
    """Pixels to a cell of the maps of a config's segmenter."""
    return int(config.task.get("map_stride", STRIDE))


def coarse_device(config: DictConfig) -> torch.device:
    """The device that computes coarse maps."""
    return torch.device("cuda" if config.trainer.accelerator in ("gpu", "cuda") else "cpu")


def prepare_segmenter(config: DictConfig, network: nn.Module | None, splits: Splits, run: RunFolder) -> None:
    """Give the frozen segmenter of a task, if any, its weights: of the run's folder, of elsewhere, or fitted now."""
    if network is None:
        return
    known, shared = frozen_weights(run), _shared_with_other_jobs(config)
    if known is not None:
        restore(network, known)
    elif config.segmenter.checkpoint is not None or config.segmenter.fit is None:
        _load(config, network)
    elif shared is not None and shared.exists():
        log.info("Taking the coarse segmenter that an earlier job of this multirun has fitted: %s", shared)
        restore(network, read_state(shared))
    else:
        _fit(config, network, splits, run)
        if shared is not None:
            keep_weights(network, shared)
    if not run.segmenter.exists():
        keep_weights(network, run.segmenter)
    freeze(network)


def _shared_with_other_jobs(config: DictConfig) -> Path | None:
    """Where the jobs of a multirun keep a segmenter that all of them would fit alike; None outside of a multirun."""
    if not (HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN):
        return None
    settings = OmegaConf.to_container(config, resolve=True)
    assert isinstance(settings, dict)
    decisive = {key: settings.get(key) for key in ("data", "seed", "limit", "augment", "loader")}
    decisive["segmenter"] = {key: settings["segmenter"][key] for key in ("network", "fit")}
    length = ("max_epochs", "max_steps", "check_val_every_n_epoch", "log_every_n_steps", "profiler")  # of its own fit
    decisive["trainer"] = {key: value for key, value in settings["trainer"].items() if key not in length}
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]
    return Path(HydraConfig.get().sweep.dir) / "segmenters" / f"{digest}.safetensors"


def loaded_segmenter(config: DictConfig, labels: LabelSet) -> nn.Module:
    """The segmenter with the weights that the config names; nothing is fitted."""
    network = make_segmenter(config, labels)
    _load(config, network)
    freeze(network)
    return network


def _load(config: DictConfig, network: nn.Module) -> None:
    if config.segmenter.checkpoint is not None:
        restore(network, segmenter_weights(Path(config.segmenter.checkpoint)))
    elif config.segmenter.network.get("weights") is None and not config.segmenter.get("pretrained", False):
        raise ValueError(
            "this segmenter has no weights yet: train it first (task=segment) and give its run as "
            "segmenter.checkpoint=outputs/segment/<date>_<time>, or published weights as "
            "segmenter.network.weights=FILE"
        )


def _fit(config: DictConfig, network: nn.Module, splits: Splits, run: RunFolder) -> None:
    log.info("Fitting the coarse segmenter, since segmenter.checkpoint is not given")
    settings = config.segmenter.fit
    optimization = Optimization(
        lambda groups: AdamW(groups, lr=settings.lr, weight_decay=1e-4), lambda progress: cosine(progress, warmup=0.05)
    )
    task = Segment(Parts(splits.labels, optimization, segmenter=lambda: network))
    most = OmegaConf.select(config, "limit.fit_epochs")
    epochs = settings.max_epochs if most is None else min(settings.max_epochs, most)
    batch_size = min(settings.batch_size, len(splits.train))
    network.requires_grad_(True)
    data = make_data(config, splits, WholeImages(), batch_size=batch_size, per_image=1, repeat_batches=None)
    folder = run.checkpoints / "segmenter"
    trainer = make_trainer(
        config,
        logger=make_loggers(config, run.path, "csv_segmenter"),
        callbacks=keep_checkpoints(config, folder, monitor=task.monitor),
        max_epochs=epochs,
        max_steps=-1,
        check_val_every_n_epoch=min(epochs, settings.validate_every),
    )
    last = folder / "last.ckpt"
    fit(trainer, task, data, last if last.exists() else None)
    best = folder / "best.ckpt"
    if best.exists():
        restore(network, load_weights_of(best))


@torch.no_grad()
def predict(
    network: nn.Module,
    examples: Examples,
    maps: CoarseFiles | CoarseMemory,
    device: torch.device,
    *,
    stride: int = STRIDE,
    progress_bar: bool = True,
) -> int:
    """Keep the network's coarse maps of the images that have none yet; returns their number."""
    missing = [index for index, image in enumerate(examples.names) if not maps.holds(image)]
    for index in tqdm(missing, desc="Coarse maps", unit="image", disable=not (missing and progress_bar)):
        example = examples[index]
        maps.write(example.name, _coarse_map(network, example, device, stride))
    return len(missing)


def _coarse_map(network: nn.Module, example: Example, device: torch.device, stride: int) -> NDArray[np.uint8]:
    image = torch.from_numpy(example.image.transpose(2, 0, 1).copy()).to(device).float().div_(255)[None]
    return np.asarray((coarse_probabilities(network, image, stride)[0] * 255).round().byte().cpu())
