"""One run of `train.py`: fit, test, report."""

import logging
import math
import os
import warnings
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import WandbLogger

from spatialprop.callbacks import SaveExamples, SaveFailures, SaveRanked
from spatialprop.data import Splits
from spatialprop.experiment.coarse import frozen_segmenter, keep_weights, start_segmenter, with_coarse
from spatialprop.experiment.guidance import start_guidance
from spatialprop.experiment.latest import point_latest_to
from spatialprop.experiment.parts import (
    Task,
    check_lengths,
    keep_checkpoints,
    load_weights_of,
    make_baselines,
    make_data,
    make_loggers,
    make_optimization,
    make_splits,
    make_task,
    make_trainer,
)
from spatialprop.experiment.run_folder import RunFolder
from spatialprop.experiment.wandb_logging import log_results
from spatialprop.files import write_beside
from spatialprop.report import comparison_table, helen_tables, write_report
from spatialprop.tasks.optimization import restore

log = logging.getLogger(__name__)


def quieten_lightning() -> None:
    """Leave out what Lightning says of its own workings; its warnings and profiles stay."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.getLogger("pytorch_lightning.profilers").setLevel(logging.INFO)  # what trainer.profiler was asked for
    # Our batches follow from the number of steps done, so that any loader of ours resumes; Lightning cannot know.
    resuming = r"You're resuming from a checkpoint .* your dataloader is not resumable"
    for message in (r".*LeafSpec.*", r"Checkpoint directory .* exists and is not empty", resuming):
        warnings.filterwarnings("ignore", message)


def train(config: DictConfig, folder: Path, outputs: Path | None = None) -> dict[str, Any]:
    """Train what the config describes, test it, and leave everything in `folder`, where `outputs/latest` will lead."""
    quieten_lightning()
    refuse_processes_in_multirun(config)
    if config.callbacks.weights not in ("best", "last"):
        raise ValueError(f"callbacks.weights must be best or last; got {config.callbacks.weights!r}")
    run = RunFolder(folder)
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    splits = make_splits(config)
    task = make_task(config, splits.labels, make_baselines(config), make_optimization(config))
    # What is impossible is said now, not after a segmenter has been fitted.
    make_data(config, splits).train_dataloader()
    check_lengths(config)
    checkpoint = _checkpoint(config, run)
    if checkpoint is not None:
        _refuse_another_network(task, checkpoint)
    else:
        if config.segmenter.get("checkpoint") is not None:
            start_segmenter(task, config.segmenter.checkpoint)
        if config.guidance.get("checkpoint") is not None:
            start_guidance(task.network, config.guidance.checkpoint)
    if config.ckpt_path == "last" and run.config.exists():
        log.info("Going on with %s%s", folder, ", which had finished" if run.metrics.exists() else "")
        _say_what_changed(cast(DictConfig, OmegaConf.load(run.config)), config)
    with write_beside(run.config) as file:
        file.write(OmegaConf.to_yaml(config, resolve=True).encode())
    run.write_labels(splits.labels, len(splits.test))
    refines = config.task.kind == "refine"
    if refines:
        pl.seed_everything(config.seed, workers=True, verbose=False)  # one segmenter for all networks that mend it
        network = frozen_segmenter(config, splits, run)
        splits = Splits(
            *(
                with_coarse(config, examples, network, run.coarse / name)
                for name, examples in zip(splits._fields, splits, strict=True)
            )
        )
        pl.seed_everything(config.seed, workers=True, verbose=False)  # however the coarse maps were come by
    data = make_data(config, splits, with_coarse=refines)
    trainer = make_trainer(
        config,
        logger=make_loggers(config, run.path),
        callbacks=[
            *keep_checkpoints(config, run.checkpoints, monitor=task.monitor),
            SaveExamples(run.examples, config.callbacks.examples, config.callbacks.background),
            SaveFailures(run.failures, config.callbacks.examples),
            SaveRanked(run.ranked, config.callbacks.ranked, splits.labels),
        ],
    )
    if outputs is not None:  # not before what was the latest has been read, such as segmenter.checkpoint=outputs/latest
        point_latest_to(folder, outputs)
    trainer.fit(task, data, ckpt_path=checkpoint, weights_only=True)

    best = run.checkpoints / "best.ckpt"
    if config.callbacks.weights == "best" and best.exists():
        restore(task.network, load_weights_of(best))
    keep_weights(task.network, run.network)
    trainer.test(task, data, verbose=False)
    metrics = task.results
    if trainer.is_global_zero:
        run.write_metrics(metrics)
        write_report(run.path)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                log_results(logger, run, metrics, splits.labels, config.logger.images)
        log.info("\n%s", comparison_table(metrics))
        for title, table in helen_tables(metrics).items():
            log.info("\n%s\n%s", title, table.text())
    return metrics


def run_job(config: DictConfig) -> float:
    """Train as the command line says, in the folder that Hydra made; return what a sweep maximises."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    refuse_folders_apart(config)
    refuse_unnamed_multirun(config)
    alone = HydraConfig.get().mode == RunMode.RUN
    try:
        metrics = train(config, folder, Path("outputs") if alone else None)
    except Exception:
        if not alone:
            log.exception("This job failed")  # Hydra tells of the first that does, and goes on
        raise
    finally:
        if config.logger.kind == "wandb":
            import wandb

            wandb.finish()  # or the next job of a multirun would go on in this one's
    scores = metrics.get("refined", metrics["coarse"])
    undefined = [name for name, value in scores.items() if value is None]
    if undefined:
        log.warning("Nothing in the test images counts for %s: null in metrics.json", ", ".join(undefined))
    log.info("Report: %s", folder / "report.html")
    print(folder, flush=True)
    return math.nan if scores["mIoU"] is None else float(scores["mIoU"])


def _checkpoint(config: DictConfig, run: RunFolder) -> Path | None:
    if config.ckpt_path is None:
        return None
    if config.ckpt_path != "last":
        path = Path(config.ckpt_path)
        if not path.is_file():
            raise FileNotFoundError(f"ckpt_path = {path} does not exist; give a .ckpt file, or ckpt_path=last")
        return path
    last = run.checkpoints / "last.ckpt"
    return last if last.exists() else None  # it was stopped while its segmenter was being fitted


def _refuse_another_network(task: Task, checkpoint: Path) -> None:
    """Before anything of the run that it belongs to is written over."""
    held = {name: value.shape for name, value in load_weights_of(checkpoint).items()}
    made = {name: value.shape for name, value in task.network.state_dict().items()}
    differing = sorted(name for name in held.keys() | made.keys() if held.get(name) != made.get(name))
    if differing:
        raise ValueError(
            f"{checkpoint} holds another network than these settings make, which differs in {differing[0]} and "
            f"{len(differing) - 1} more; give the settings that the run began with"
        )


def _say_what_changed(before: DictConfig, now: DictConfig) -> None:
    old, new = (cast(DictConfig, OmegaConf.create(OmegaConf.to_yaml(config, resolve=True))) for config in (before, now))
    for key in sorted({*map(str, old), *map(str, new)} - {"ckpt_path"}):
        if old.get(key) != new.get(key):
            log.warning(
                "This run goes on with other settings than it began with: %s = %s, was %s",
                key, new.get(key), old.get(key),
            )  # fmt: skip


def refuse_unnamed_multirun(config: DictConfig) -> None:
    """A multirun's folder is a new one unless it is named, with nothing in it to go on from."""
    hydra = HydraConfig.get()
    named = any(override.startswith("hydra.sweep.dir=") for override in hydra.overrides.hydra)
    if hydra.mode == RunMode.MULTIRUN and config.ckpt_path == "last" and not named:
        raise ValueError("ckpt_path=last: which multirun is to go on? Name it: hydra.sweep.dir=multirun/<date>_<time>")


def refuse_folders_apart(config: DictConfig) -> None:
    """Processes that torchrun or srun started would each name the run's folder after their own clock."""
    hydra = HydraConfig.get()
    started = max(int(os.environ.get(name, 1)) for name in ("WORLD_SIZE", "SLURM_NTASKS"))
    given = any(override.startswith("hydra.run.dir=") for override in hydra.overrides.hydra)
    one_run = hydra.mode == RunMode.RUN and config.ckpt_path != "last"
    if one_run and started > 1 and _several_devices(config) and not given:
        raise ValueError(
            f"{started} processes were started from outside, and a folder named after the time would be another one "
            f"for each; name one for all: hydra.run.dir=outputs/{config.name}/NAME"
        )


def refuse_processes_in_multirun(config: DictConfig) -> None:
    """Several devices in one process tree would each start the whole multirun again."""
    devices = config.trainer.devices
    launched = "TORCHELASTIC_RUN_ID" in os.environ or "SLURM_PROCID" in os.environ
    if (
        _several_devices(config)
        and not launched
        and HydraConfig.initialized()
        and HydraConfig.get().mode == RunMode.MULTIRUN
    ):
        raise ValueError(
            f"--multirun with trainer.devices={devices}: every process that Lightning starts would be handed the whole "
            f"command line and run all jobs again. Set trainer.devices=1, run the jobs one by one with torchrun, or "
            f"let SLURM start them (hydra/launcher=submitit_slurm)"
        )


def _several_devices(config: DictConfig) -> bool:
    devices = config.trainer.devices
    one = devices in (1, "1") or (hasattr(devices, "__len__") and len(devices) == 1)
    return not one or config.trainer.get("num_nodes", 1) > 1
