"""What a run's folder holds of a trained network, on any machine."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file
from torch import Tensor
from torch.optim import AdamW

from spatialprop.baselines import Baseline
from spatialprop.data import LabelSet
from spatialprop.experiment.guards import refuse_foreign_targets
from spatialprop.experiment.parts import Task, load_weights_of, make_task
from spatialprop.experiment.run_folder import RunFolder
from spatialprop.tasks.optimization import Optimization, freeze, restore

WINDOWED = ("refine", "segment", "joint")


def load_run(folder: str | Path, *, trust: bool = False) -> Task:
    """The trained task of a run's folder, for notebooks and scripts; its `network` is what was trained.

    Args:
        folder: The run's folder.
        trust: Let the run's config name code from outside of spatialprop.
    """
    run = RunFolder(folder)
    return trained_task(run, read_config(run, trust=trust), run.read_labels(), {})


def trained_task(run: RunFolder, config: DictConfig, labels: LabelSet, compared_with: dict[str, Baseline]) -> Task:
    """The task that a config describes with the weights of a run."""
    task = make_task(config, labels, compared_with, Optimization(AdamW))  # an optimiser that nobody asks for
    restore(task.network, trained_weights(run))
    freeze(task.network)
    return task


def read_config(run: RunFolder, *, trust: bool) -> DictConfig:
    """The config that a run was trained with, which may name code of spatialprop only unless it is trusted."""
    if not run.config.is_file():
        raise FileNotFoundError(
            f"run = {run.path} holds no {run.config.name}; give the folder of a run, such as outputs/latest"
        )
    config = OmegaConf.load(run.config)
    if not isinstance(config, DictConfig):
        raise ValueError(f"{run.config} is not the config of a run")
    for group in ("data", "segmenter", "guidance", "task", "patches", "augment"):
        refuse_foreign_targets(config[group], trust=trust)
    _forget_first_weights(run, config)
    return config


def take_over(options: DictConfig, config: DictConfig) -> None:
    """Change a run's config to what the command line of evaluate.py asks for."""
    kind = config.task.kind
    if options.get("segmenter") is not None and kind != "refine":
        raise ValueError(
            f"segmenter chooses the coarse maps of a run of task=refine; this run was trained with task={kind}, whose "
            f"own segmenter is what is evaluated: leave it out"
        )
    for group in ("data", "segmenter"):
        if options.get(group) is not None:
            config[group] = options[group]
    for group in ("trainer", "callbacks"):
        config[group] = options[group]
    config.loader.workers = options.workers
    for option, kinds in {"restrict": ("refine",), "window": WINDOWED, "overlap": WINDOWED}.items():
        if options[option] is not None:
            if kind not in kinds:
                raise ValueError(
                    f"{option} belongs to task={' or '.join(kinds)}; this run was trained with task={kind}"
                )
            config.task[option] = options[option]


def trained_weights(run: RunFolder) -> dict[str, Tensor]:
    """The weights that a run ended with, or those it had got to."""
    if run.network.is_file():
        return load_file(run.network)
    for name in ("best.ckpt", "last.ckpt"):
        if (run.checkpoints / name).is_file():
            return load_weights_of(run.checkpoints / name)
    raise FileNotFoundError(f"{run.checkpoints} holds no weights: the run was stopped before its first checkpoint")


def _forget_first_weights(run: RunFolder, config: DictConfig) -> None:
    """The folder holds what became of the published weights; the file they came from may be on another machine."""
    networks = [config.guidance.network]
    if run.segmenter.exists() or config.task.kind != "refine":
        networks.append(config.segmenter.network)
    for network in networks:
        if network is not None and "weights" in network:
            network.weights = None
