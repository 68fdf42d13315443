"""One run of `evaluate.py`: the weights of a run's folder, scored."""

import logging
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Callback
from safetensors.torch import load_file
from torch import Tensor
from torch.optim import AdamW

from spatialprop import baselines
from spatialprop.baselines import Baseline
from spatialprop.callbacks import SaveExamples, SavePredictions
from spatialprop.data import LabelSet
from spatialprop.data.files import write_beside
from spatialprop.experiment.coarse import frozen_segmenter, with_coarse
from spatialprop.experiment.composition import Task, load_weights_of, make_data, make_splits, make_task, make_trainer
from spatialprop.experiment.run_folder import RunFolder
from spatialprop.experiment.targets import refuse_foreign_targets
from spatialprop.report.page import write_report
from spatialprop.report.tables import comparison_table
from spatialprop.tasks.optimization import Optimization, freeze, restore

log = logging.getLogger(__name__)


def load_run(folder: str | Path, *, trust: bool = False) -> Task:
    """The trained task of a run's folder, for notebooks and scripts; its `network` is what was trained.

    Args:
        folder: The run's folder.
        trust: Let the run's config name code from outside of spatialprop.
    """
    run = RunFolder(folder)
    return _trained_task(run, read_config(run, trust=trust), run.read_labels(), {})


def evaluate(options: DictConfig, folder: Path) -> dict[str, Any]:
    """Score the run that `options` name, and leave scores, figures and report in `folder`."""
    trained = RunFolder(options.run)
    config = read_config(trained, trust=options.trust)
    for group in ("data", "segmenter"):
        if options.get(group) is not None:
            config[group] = options[group]
    for group in ("trainer", "callbacks"):
        config[group] = options[group]
    config.loader.workers = options.workers
    if options.restrict is not None:
        if config.task.kind != "refine":
            raise ValueError(f"restrict belongs to task=refine; this run was trained with task={config.task.kind}")
        config.task.restrict = options.restrict

    splits = make_splits(config)
    compared_with = {name: baselines.make(name) for name in options.baselines}
    task = _trained_task(trained, config, splits.labels, compared_with)
    run = RunFolder(folder)
    refines = config.task.kind == "refine"
    if refines:
        config.segmenter.fit = None  # other segmenters than the run's own must come with weights
        network = frozen_segmenter(config, splits, trained if options.get("segmenter") is None else run)
        splits = splits._replace(test=with_coarse(config, splits.test, network, run.coarse))
    callbacks: list[Callback] = [SaveExamples(run.examples, config.callbacks.examples, config.callbacks.background)]
    if options.predictions:
        callbacks.append(SavePredictions(run.predictions, splits.labels))
    trainer = make_trainer(config, callbacks=callbacks, logger=False, enable_checkpointing=False)
    trainer.test(task, make_data(config, splits, with_coarse=refines), verbose=False)
    metrics = task.results
    if trainer.is_global_zero:
        with write_beside(run.config) as file:
            file.write(OmegaConf.to_yaml(config, resolve=True).encode())
        run.write_labels(splits.labels, len(splits.test))
        run.write_metrics(metrics)
        write_report(folder)
        log.info("\n%s", comparison_table(metrics))
    return metrics


def evaluate_job(options: DictConfig) -> None:
    """Evaluate as the command line says, in the folder that Hydra made."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    evaluate(options, folder)
    print(folder, flush=True)


def _trained_task(run: RunFolder, config: DictConfig, labels: LabelSet, compared_with: dict[str, Baseline]) -> Task:
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
    return config


def trained_weights(run: RunFolder) -> dict[str, Tensor]:
    """The weights that a run ended with, or those it had got to."""
    if run.network.is_file():
        return load_file(run.network)
    for name in ("best.ckpt", "last.ckpt"):
        if (run.checkpoints / name).is_file():
            return load_weights_of(run.checkpoints / name)
    raise FileNotFoundError(f"{run.checkpoints} holds no weights: the run was stopped before its first checkpoint")
