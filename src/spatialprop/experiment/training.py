"""One training run: fit, test, report."""

import logging
import math
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import LearningRateMonitor
from pytorch_lightning.loggers import WandbLogger

from spatialprop.callbacks import SaveExamples, SaveFailures, SaveRanked
from spatialprop.data import Splits, write_label_set
from spatialprop.experiment.coarse import prepare_segmenter, with_coarse
from spatialprop.experiment.guards import (
    check_settings,
    load_config,
    refuse_folders_apart,
    refuse_foreign_code,
    refuse_processes_in_multirun,
    refuse_unnamed_multirun,
)
from spatialprop.experiment.origin import origin
from spatialprop.experiment.parts import (
    keep_checkpoints,
    keeps_maps,
    make_baselines,
    make_data,
    make_loggers,
    make_optimization,
    make_splits,
    make_task,
    make_trainer,
)
from spatialprop.experiment.run_folder import RunFolder, point_latest_to
from spatialprop.experiment.shown_tables import show_tables
from spatialprop.experiment.wandb_logging import LogImages, LoginError, log_results
from spatialprop.experiment.weights import fit, keep_weights, load_weights_of, start_guidance, start_segmenter
from spatialprop.files import write_json
from spatialprop.report import ORIGIN, comparison_table, helen_tables, write_report
from spatialprop.tasks import Refine, Task
from spatialprop.tasks.optimization import restore

log = logging.getLogger(__name__)

_MAIN = (("mIoU", 1), ("PSNR", 1), ("SAD", -1), ("MAE", -1))  # what a sweep maximises, or minimises


def train(config: DictConfig, folder: Path, outputs: Path | None = None) -> dict[str, Any]:
    """Train what the config describes, test it, and leave everything in `folder`, where `outputs/latest` will lead."""
    started = datetime.now()
    refuse_processes_in_multirun(config)
    check_settings(config)
    run = RunFolder(folder)
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    splits = make_splits(config)
    task = make_task(config, splits.labels, make_baselines(config), make_optimization(config))
    make_data(config, splits).train_dataloader()  # refuses wrong settings now, not after a segmenter has been fitted
    checkpoint = _checkpoint(config, run)
    if checkpoint is not None:
        _refuse_another_network(task, checkpoint)
    else:
        if config.segmenter.get("checkpoint") is not None:
            start_segmenter(task, config.segmenter.checkpoint)
        if config.guidance.get("checkpoint") is not None:
            start_guidance(task, config.guidance.checkpoint)
    if config.ckpt_path == "last" and run.config.exists():
        log.info("Resuming %s%s", folder, ", which had finished" if run.metrics.exists() else "")
        _warn_of_changes(load_config(run.config), config)
    run.write_config(config)
    write_label_set(splits.labels, run.data, images=len(splits.test))
    loggers = make_loggers(config, run.path)
    if isinstance(task, Refine):
        pl.seed_everything(config.seed, workers=True, verbose=False)  # the same segmenter for all networks
        prepare_segmenter(config, task.segmenter, splits, run)
        splits = Splits(
            *(
                with_coarse(config, examples, task.segmenter, run.coarse / name)
                for name, examples in zip(splits._fields, splits, strict=True)
            )
        )
        pl.seed_everything(config.seed, workers=True, verbose=False)  # wherever the maps came from
    data = make_data(config, splits, with_coarse=task.takes_coarse and keeps_maps(config))
    trainer = make_trainer(
        config,
        logger=loggers,
        callbacks=[
            *keep_checkpoints(config, run.checkpoints, monitor=task.monitor, mode=task.monitor_mode),
            LearningRateMonitor("step"),
            *([LogImages(splits.labels)] if config.logger.kind == "wandb" else []),
            SaveExamples(run.examples, config.callbacks.examples, config.callbacks.background),
            SaveFailures(run.failures, config.callbacks.examples),
            SaveRanked(run.ranked, config.callbacks.ranked, splits.labels),
        ],
    )
    if outputs is not None:  # not earlier: the latest run may have been read, as in segmenter.checkpoint=outputs/latest
        point_latest_to(folder, outputs)
    fit(trainer, task, data, checkpoint)

    if config.callbacks.weights == "best" and run.best.exists():
        restore(task.network, load_weights_of(run.best))
    keep_weights(task.network, run.network)
    trainer.test(task, data, verbose=False)
    metrics = task.results
    if trainer.is_global_zero:
        write_json(run.metrics, {**metrics, ORIGIN: origin(started)})
        write_report(run.path)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                log_results(logger, run, metrics, splits.labels, config.logger.images)
        show_tables({"Scores": comparison_table(metrics), **helen_tables(metrics)})
    return metrics


def run_job(config: DictConfig) -> float:
    """Run a job of the command line in the folder that Hydra made; return the score that a sweep maximises."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    refuse_folders_apart(config)
    refuse_unnamed_multirun(config)
    alone = HydraConfig.get().mode == RunMode.RUN
    try:
        metrics = train(config, folder, Path("outputs") if alone else None)
    except LoginError as error:
        raise SystemExit(str(error)) from None  # for every job of a multirun
    except Exception:
        if not alone:
            log.exception("This job failed")  # Hydra only reports the first that fails
        raise
    finally:
        if config.logger.kind == "wandb":
            import wandb

            wandb.finish()  # or the next job of a multirun would log to this one's
    scores = metrics.get("refined", metrics["coarse"])
    main, sign = next((pair for pair in _MAIN if pair[0] in scores), _MAIN[0])
    undefined = [name for name, value in scores.items() if value is None]
    if undefined:
        log.warning("Nothing in the test images counts for %s: null in metrics.json", ", ".join(undefined))
    log.info("Report: %s", folder / "report.html")
    print(folder, flush=True)
    return math.nan if scores[main] is None else sign * float(scores[main])


def _checkpoint(config: DictConfig, run: RunFolder) -> Path | None:
    if config.ckpt_path is None:
        return None
    if config.ckpt_path != "last":
        path = Path(config.ckpt_path)
        if not path.is_file():
            raise FileNotFoundError(f"ckpt_path = {path} does not exist; give a .ckpt file, or ckpt_path=last")
        return path
    return run.last if run.last.exists() else None  # none if it was stopped while fitting its segmenter


def _refuse_another_network(task: Task, checkpoint: Path) -> None:
    """Refuse a checkpoint of another network before any file of its run is overwritten."""
    held = {name: value.shape for name, value in load_weights_of(checkpoint).items()}
    made = {name: value.shape for name, value in task.network.state_dict().items()}
    differing = sorted(name for name in held.keys() | made.keys() if held.get(name) != made.get(name))
    if differing:
        raise ValueError(
            f"{checkpoint} holds another network than these settings make, which differs in {differing[0]} and "
            f"{len(differing) - 1} more; give the settings that the run began with"
        )


def _warn_of_changes(before: DictConfig, now: DictConfig) -> None:
    refuse_foreign_code(before, trust=False, beside=now)
    old, new = (cast(DictConfig, OmegaConf.create(OmegaConf.to_yaml(config, resolve=True))) for config in (before, now))
    for key in sorted({*map(str, old), *map(str, new)} - {"ckpt_path"}):
        if old.get(key) != new.get(key):
            log.warning(
                "This run goes on with other settings than it began with: %s = %s, was %s",
                key, new.get(key), old.get(key),
            )  # fmt: skip
