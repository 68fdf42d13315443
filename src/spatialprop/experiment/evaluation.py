"""One run of `evaluate.py`: the weights of a run's folder, scored."""

import logging
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Callback

from spatialprop.callbacks import SaveExamples, SaveFailures, SavePredictions, SaveRanked
from spatialprop.experiment.coarse import frozen_segmenter, with_coarse
from spatialprop.experiment.parts import make_baselines, make_data, make_splits, make_trainer
from spatialprop.experiment.run_folder import RunFolder
from spatialprop.experiment.trained import read_config, take_over, trained_task
from spatialprop.experiment.universal import evaluate_universal
from spatialprop.files import write_beside
from spatialprop.report import comparison_table, helen_tables, write_report

log = logging.getLogger(__name__)


def evaluate(options: DictConfig, folder: Path) -> dict[str, Any]:
    """Score the run that `options` name, and leave scores, figures and report in `folder`."""
    trained = RunFolder(options.run)
    config = read_config(trained, trust=options.trust)
    take_over(options, config)

    splits = make_splits(config)
    task = trained_task(trained, config, splits.labels, make_baselines(options))
    run = RunFolder(folder)
    refines = config.task.kind == "refine"
    if refines:
        config.segmenter.fit = None  # other segmenters than the run's own must come with weights
        network = frozen_segmenter(config, splits, trained if options.get("segmenter") is None else run)
        splits = splits._replace(test=with_coarse(config, splits.test, network, run.coarse))
    callbacks: list[Callback] = [
        SaveExamples(run.examples, config.callbacks.examples, config.callbacks.background),
        SaveFailures(run.failures, config.callbacks.examples),
        SaveRanked(run.ranked, config.callbacks.ranked, splits.labels),
    ]
    if options.predictions:
        callbacks.append(SavePredictions(run.predictions))
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
        for title, table in helen_tables(metrics).items():
            log.info("\n%s\n%s", title, table.text())
    return metrics


def evaluate_job(options: DictConfig) -> None:
    """Evaluate as the command line says, in the folder that Hydra made."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    if isinstance(options.run, str) and options.coarse is None:
        evaluate(options, folder)
    else:
        evaluate_universal(options, folder)
    print(folder, flush=True)
