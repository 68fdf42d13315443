"""The coarse maps that a refinement starts from: the frozen segmenter, fitted or loaded, and its maps on disk."""

import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.nn import functional as F
from torch.optim import AdamW
from tqdm import tqdm

from spatialprop.data import CoarseFiles, Example, Examples, LabelSet, Splits, WholeImages, WithCoarse
from spatialprop.experiment.parts import (
    keep_checkpoints,
    make_data,
    make_loggers,
    make_segmenter,
    make_trainer,
    with_stored_coarse,
)
from spatialprop.experiment.run_folder import RunFolder
from spatialprop.experiment.weights import fit, keep_weights, load_weights_of, segmenter_weights
from spatialprop.nn.published import read_state
from spatialprop.tasks import Parts, Segment
from spatialprop.tasks.optimization import Optimization, freeze, restore
from spatialprop.tasks.schedules import cosine

log = logging.getLogger(__name__)

STRIDE = 8  # maps are stored at an eighth of the resolution, or coarser if the segmenter gives them so


def with_coarse(config: DictConfig, examples: Examples, network: nn.Module | None, folder: Path) -> Examples:
    """Examples with the coarse maps of a network, stored in `folder`, or, without one, of the data set."""
    if network is None:
        return with_stored_coarse(config, examples)
    files = CoarseFiles(folder, examples.labels)
    device = coarse_device(config)
    predict(network.to(device), examples, files, device, progress_bar=config.callbacks.progress_bar)
    return WithCoarse(examples, files)


def coarse_device(config: DictConfig) -> torch.device:
    """The device that computes coarse maps."""
    return torch.device("cuda" if config.trainer.accelerator in ("gpu", "cuda") else "cpu")


def frozen_segmenter(config: DictConfig, splits: Splits, run: RunFolder) -> nn.Module | None:
    """The segmenter of a run, from its folder, loaded from elsewhere, or fitted now; None if coarse maps are files."""
    if config.segmenter.network is None:
        return None
    network = make_segmenter(config, splits.labels)
    if run.segmenter.exists():
        restore(network, read_state(run.segmenter))
    else:
        if config.segmenter.checkpoint is None and config.segmenter.fit is not None:
            _fit(config, network, splits, run)
        else:
            _load(config, network)
        keep_weights(network, run.segmenter)
    freeze(network)
    return network


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
    network: nn.Module, examples: Examples, files: CoarseFiles, device: torch.device, *, progress_bar: bool = True
) -> int:
    """Write the network's coarse maps of the images that have none yet; returns their number."""
    missing = [index for index, image in enumerate(examples.names) if not files.path(image).exists()]
    for index in tqdm(missing, desc="Coarse maps", unit="image", disable=not (missing and progress_bar)):
        example = examples[index]
        files.write(example.name, _coarse_map(network, example, device))
    return len(missing)


def _coarse_map(network: nn.Module, example: Example, device: torch.device) -> NDArray[np.uint8]:
    image = torch.from_numpy(example.image.transpose(2, 0, 1).copy()).to(device).float().div_(255)[None]
    probabilities = network(image).softmax(dim=1)
    height, width = image.shape[-2:]
    cells = (-(-height // STRIDE), -(-width // STRIDE))
    if probabilities.shape[-2] > cells[0]:
        probabilities = F.interpolate(probabilities, size=cells, mode="area")
    return np.asarray((probabilities[0] * 255).round().byte().cpu())
