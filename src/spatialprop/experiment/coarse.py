"""The coarse segmenter of a refinement: fitted or loaded, and run once over each image."""

import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW
from tqdm import tqdm

from spatialprop.data import CoarseFiles, Example, Examples, LabelSet, Splits, WholeImages, WithCoarse
from spatialprop.experiment.parts import (
    Task,
    keep_checkpoints,
    load_weights_of,
    make_data,
    make_loggers,
    make_segmenter,
    make_trainer,
    with_stored_coarse,
)
from spatialprop.experiment.run_folder import RunFolder
from spatialprop.files import write_beside
from spatialprop.tasks import Refine, Segment
from spatialprop.tasks.optimization import Optimization, freeze, restore
from spatialprop.tasks.schedules import cosine

log = logging.getLogger(__name__)

FINEST = 8  # coarse maps are kept at an eighth of the resolution, or as coarse as the segmenter gives them


def with_coarse(config: DictConfig, examples: Examples, network: nn.Module | None, folder: Path) -> Examples:
    """Examples with coarse maps: those that a network makes, kept in `folder`, or those that come with them."""
    if network is None:
        return with_stored_coarse(config, examples)
    files = CoarseFiles(folder, examples.labels)
    device = coarse_device(config)
    predict(network.to(device), examples, files, device, progress_bar=config.callbacks.progress_bar)
    return WithCoarse(examples, files)


def coarse_device(config: DictConfig) -> torch.device:
    """Where coarse maps are made."""
    return torch.device("cuda" if config.trainer.accelerator in ("gpu", "cuda") else "cpu")


def frozen_segmenter(config: DictConfig, splits: Splits, run: RunFolder) -> nn.Module | None:
    """The segmenter that a run keeps, or one loaded from elsewhere or fitted now; None where coarse maps are files."""
    if config.segmenter.network is None:
        return None
    network = make_segmenter(config, splits.labels)
    if run.segmenter.exists():
        restore(network, load_file(run.segmenter))
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


def start_segmenter(task: Task, source: str) -> None:
    """Give the segmenter that a task trains the weights of a run or a file. A refinement trains none."""
    if isinstance(task, Refine):
        return
    network = task.network if isinstance(task, Segment) else task.network.segmenter
    restore(network, _weights_at(Path(source)))
    log.info("The segmenter starts from %s", source)


def _load(config: DictConfig, network: nn.Module) -> None:
    if config.segmenter.checkpoint is not None:
        restore(network, _weights_at(Path(config.segmenter.checkpoint)))
    elif config.segmenter.network.get("weights") is None and not config.segmenter.get("pretrained", False):
        raise ValueError(
            "this segmenter has no weights yet: train it first (task=segment) and give its run as "
            "segmenter.checkpoint=outputs/segment/<date>_<time>, or published weights as "
            "segmenter.network.weights=FILE"
        )


def keep_weights(network: nn.Module, path: Path) -> None:
    """Write a network's weights, never half of them; each process of a run may."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_beside(path) as file:
        file.write(save({name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}))


def _weights_at(source: Path) -> dict[str, Tensor]:
    """Weights of a segmenter, from a file or from the run that trained it."""
    if source.is_dir():
        run = RunFolder(source)
        found = [path for path in (run.segmenter, run.network) if path.is_file()]
        if not found:
            raise FileNotFoundError(f"segmenter.checkpoint = {source} is a folder without {run.network.name}")
        return load_file(found[0])
    if not source.is_file():
        raise FileNotFoundError(f"segmenter.checkpoint = {source} does not exist; give a run's folder or a file")
    return load_file(source) if source.suffix == ".safetensors" else load_weights_of(source)


def _fit(config: DictConfig, network: nn.Module, splits: Splits, run: RunFolder) -> None:
    log.info("Fitting the coarse segmenter, since segmenter.checkpoint is not given")
    fit = config.segmenter.fit
    optimization = Optimization(
        lambda groups: AdamW(groups, lr=fit.lr, weight_decay=1e-4), lambda progress: cosine(progress, warmup=0.05)
    )
    task = Segment(network, splits.labels, optimization)
    batch_size = min(fit.batch_size, len(splits.train))
    data = make_data(config, splits, WholeImages(), batch_size=batch_size, per_image=1, repeat_batches=None)
    folder = run.checkpoints / "segmenter"
    trainer = make_trainer(
        config,
        logger=make_loggers(config, run.path, "csv_segmenter"),
        callbacks=keep_checkpoints(config, folder, monitor=task.monitor),
        max_epochs=fit.max_epochs,
        max_steps=-1,
        check_val_every_n_epoch=min(fit.max_epochs, fit.validate_every),
    )
    last = folder / "last.ckpt"
    trainer.fit(task, data, ckpt_path=last if last.exists() else None, weights_only=True)
    best = folder / "best.ckpt"
    if best.exists():
        restore(network, load_weights_of(best))


@torch.no_grad()
def predict(
    network: nn.Module, examples: Examples, files: CoarseFiles, device: torch.device, *, progress_bar: bool = True
) -> int:
    """Keep the network's coarse maps of the images that have none yet; tells how many these were."""
    missing = [index for index, image in enumerate(examples.names) if not files.path(image).exists()]
    for index in tqdm(missing, desc="Coarse maps", unit="image", disable=not (missing and progress_bar)):
        example = examples[index]
        files.write(example.name, _coarse_map(network, example, device))
    return len(missing)


def _coarse_map(network: nn.Module, example: Example, device: torch.device) -> NDArray[np.uint8]:
    image = torch.from_numpy(example.image.transpose(2, 0, 1).copy()).to(device).float().div_(255)[None]
    probabilities = network(image).softmax(dim=1)
    height, width = image.shape[-2:]
    cells = (-(-height // FINEST), -(-width // FINEST))
    if probabilities.shape[-2] > cells[0]:
        probabilities = F.interpolate(probabilities, size=cells, mode="area")
    stored: NDArray[np.uint8] = (probabilities[0] * 255).round().byte().cpu().numpy()
    return stored
