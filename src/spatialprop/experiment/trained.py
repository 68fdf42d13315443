"""Read a run's folder: its config, and the task that it trained."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor

from spatialprop.baselines import Baseline
from spatialprop.data import LabelSet, read_label_set
from spatialprop.experiment.guards import load_config, refuse_addresses, refuse_foreign_code
from spatialprop.experiment.parts import make_task, task_class
from spatialprop.experiment.run_folder import RunFolder
from spatialprop.experiment.weights import frozen_weights, trained_weights
from spatialprop.tasks import Refine, Task
from spatialprop.tasks.optimization import freeze, restore


def load_run(folder: str | Path, *, trust: bool = False, segmenter: bool = True) -> Task:
    """The trained task of a run's folder, for notebooks and scripts; its `network` is what was trained.

    That of task=refine holds its frozen segmenter too, unless the folder holds no weights of one.

    Args:
        folder: The run's folder.
        trust: Let the run's config name any code and read environment variables.
        segmenter: False leaves the frozen segmenter out.
    """
    run = RunFolder(folder)
    config = read_config(run, trust=trust)
    frozen = task_class(config).takes_coarse
    weights = frozen_weights(run) if frozen and segmenter else None
    if frozen and weights is None:
        config.segmenter.network = None
    return trained_task(run, config, read_label_set(run.data), segmenter=weights)


def trained_task(
    run: RunFolder,
    config: DictConfig,
    labels: LabelSet,
    compared_with: Mapping[str, Baseline] | None = None,
    segmenter: Mapping[str, Tensor] | None = None,
) -> Task:
    """The task that a config describes, with a run's weights, and those of a frozen segmenter if they are given."""
    weights = trained_weights(run)
    with describing(run):
        try:
            with torch.device("meta"):
                outline = make_task(config, labels)
        except Exception:  # another library's model may need tensors that hold something; others will fail below, too
            outline = None
        if outline is not None:
            _restore(outline, weights, segmenter)  # a config may ask for more memory than there is
        task = make_task(config, labels, compared_with)
    _restore(task, weights, segmenter)
    freeze(task.network)
    return task


def _restore(task: Task, weights: Mapping[str, Tensor], segmenter: Mapping[str, Tensor] | None) -> None:
    restore(task.network, weights)
    if isinstance(task, Refine) and task.segmenter is not None and segmenter is not None:
        restore(task.segmenter, segmenter)


@contextmanager
def describing(run: RunFolder) -> Iterator[None]:
    """Name a run's config if what it describes cannot be made; what says by itself what is wrong is left as it is."""
    try:
        yield
    except (ValueError, OSError, ImportError, MemoryError):
        raise
    except Exception as error:  # of settings that may be anything, so is this
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{run.config} describes nothing that can be made: {type(error).__name__}: {reason}"
        ) from error


def read_config(run: RunFolder, *, trust: bool) -> DictConfig:
    """The config that a run was trained with; unless trusted, it can choose settings, but runs and fetches nothing."""
    if not run.config.is_file():
        raise FileNotFoundError(
            f"run = {run.path} holds no {run.config.name}; give the folder of a run, such as outputs/latest"
        )
    config = load_config(run.config)
    refuse_foreign_code(config, trust=trust)
    with describing(run):
        _forget_initial_weights(run, config)
    if not trust:
        refuse_addresses(config)
    return config


def _forget_initial_weights(run: RunFolder, config: DictConfig) -> None:
    """The folder holds the trained weights; the files that training started from may lie on another machine."""
    networks = [config.guidance.network]
    takes_coarse = task_class(config).takes_coarse
    if run.segmenter.exists() or not takes_coarse:
        networks.append(config.segmenter.network)
    for network in networks:
        if network is not None and "weights" in network:
            network.weights = None
