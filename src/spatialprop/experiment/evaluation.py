"""Score trained runs: one on its own data or other, or several on the coarse maps of several segmenters."""

import logging
import re
from collections.abc import Callable
from datetime import datetime
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig
from pytorch_lightning.callbacks import Callback

from spatialprop.callbacks import SaveExamples, SaveFailures, SavePredictions, SaveRanked
from spatialprop.data import LabelSet, write_label_set
from spatialprop.experiment.coarse import prepare_segmenter, with_coarse
from spatialprop.experiment.origin import origin
from spatialprop.experiment.parts import keeps_maps, make_baselines, make_data, make_splits, make_trainer, task_class
from spatialprop.experiment.run_folder import RunFolder
from spatialprop.experiment.shown_tables import show_tables
from spatialprop.experiment.trained import read_config, trained_task
from spatialprop.files import write_json
from spatialprop.report import ORIGIN, comparison_table, helen_tables, universal_tables, write_report, write_universal
from spatialprop.tasks import Parts, Refine, Task, Universal

log = logging.getLogger(__name__)

OWN = "coarse"  # the name of the coarse maps of the first run's own segmenter


def evaluate_job(options: DictConfig) -> None:
    """Evaluate as the command line says, in the folder that Hydra made."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    evaluate(options, folder)
    print(folder, flush=True)


def evaluate(options: DictConfig, folder: Path) -> dict[str, Any]:
    """Score what `options` names, and write scores, figures and report to `folder`.

    Returns:
        The scores of one run. For several runs, or if coarse maps are given, the scores by the name of the coarse maps,
        each of which gets a folder of its own in `folder`, with the tables of all beside them.
    """
    if isinstance(options.run, str) and options.coarse is None:
        run = RunFolder(options.run)
        config = _changed(read_config(run, trust=options.trust), options)
        baselines = make_baselines(options, task_class(config))
        results = _evaluate(
            options, config, run, lambda labels: trained_task(run, config, labels, baselines), RunFolder(folder)
        )
        tables = {"Scores": comparison_table(results), **helen_tables(results)}
    else:
        results = _evaluate_several(options, folder)
        tables = universal_tables(results)
    show_tables(tables)
    return results


def _evaluate_several(options: DictConfig, folder: Path) -> dict[str, dict[str, Any]]:
    named = _by_name(options.run, "run", _connection_of(options))
    runs = {name: RunFolder(path) for name, path in named.items()}
    configs = {name: read_config(run, trust=options.trust) for name, run in runs.items()}
    for name, config in configs.items():
        if not task_class(config).takes_coarse:
            raise ValueError(
                f"run {name} in {runs[name].path} was trained with task={config.task.name}; coarse maps of other "
                f"segmenters are refined by runs of task=refine"
            )
        _changed(config, options)
    first_run, first = next(iter(runs.values())), next(iter(configs.values()))
    sources = _by_name(options.coarse, "coarse", lambda path: path.name) if options.coarse is not None else {OWN: None}
    for name, path in sources.items():
        _check_source(name, path, first)

    def side_by_side(own: bool, labels: LabelSet) -> Task:
        refinements: dict[str, Any] = {}
        for name, run in runs.items():
            config = configs[name].copy()
            if refinements or not own:
                config.segmenter.network = None  # all refine the maps of the first run's
            refinements[name] = trained_task(run, config, labels)
        return Universal(Parts(labels, baselines=make_baselines(options, Universal)), refinements)

    results = {}
    for name, path in sources.items():
        log.info("Refining %s", name if path is None else f"the coarse maps of {name} in {path}")
        config = first.copy()
        if path is not None:
            config.data.coarse = str(path)
            config.segmenter = {"network": None, "simulate_missing": False}
        results[name] = _evaluate(
            options, config, first_run, partial(side_by_side, path is None), RunFolder(folder / name)
        )
    write_universal(folder, results)
    return results


def _evaluate(
    options: DictConfig, config: DictConfig, trained: RunFolder, make: Callable[[LabelSet], Task], into: RunFolder
) -> dict[str, Any]:
    """Test one task on the data of a config.

    Args:
        options: The command line.
        config: That of the run, changed as the command line asks for.
        trained: The run whose segmenter makes the coarse maps, unless the command line names another.
        make: The task, given the classes of the data.
        into: Gets the results.
    """
    started = datetime.now()
    splits = make_splits(config)
    task = make(splits.labels)
    if isinstance(task, Refine | Universal):
        config.segmenter.fit = None  # other segmenters than the run's own must come with weights
        prepare_segmenter(config, task.segmenter, splits, trained if options.get("segmenter") is None else into)
        splits = splits._replace(test=with_coarse(config, splits.test, task.segmenter, into.coarse))
    callbacks: list[Callback] = [
        SaveExamples(into.examples, config.callbacks.examples, config.callbacks.background),
        SaveFailures(into.failures, config.callbacks.examples),
        SaveRanked(into.ranked, config.callbacks.ranked, splits.labels),
    ]
    if options.predictions:
        callbacks.append(SavePredictions(into.predictions))
    trainer = make_trainer(config, callbacks=callbacks, logger=False, enable_checkpointing=False)
    trainer.test(task, make_data(config, splits, with_coarse=task.takes_coarse and keeps_maps(config)), verbose=False)
    if trainer.is_global_zero:
        into.path.mkdir(parents=True, exist_ok=True)
        into.write_config(config)
        write_label_set(splits.labels, into.data, images=len(splits.test))
        write_json(into.metrics, {**task.results, ORIGIN: origin(started)})
        write_report(into.path)
    return task.results


def _changed(config: DictConfig, options: DictConfig) -> DictConfig:
    """A run's config, changed in place to what the command line asks for."""
    task = config.task.get("name")
    if options.get("segmenter") is not None and not task_class(config).takes_coarse:
        raise ValueError(
            f"segmenter chooses the coarse maps of a run of task=refine; this run was trained with task={task}, whose "
            f"own segmenter is what is evaluated: leave it out"
        )
    for group in ("data", "segmenter"):
        if options.get(group) is not None:
            config[group] = options[group]
    for group in ("trainer", "callbacks"):
        config[group] = options[group]
    config.loader.workers = options.workers
    if options.cache is not None:
        config.segmenter.cache = options.cache
    for option in ("restrict", "window", "overlap"):
        if options[option] is not None:
            if option not in config.task:
                raise ValueError(
                    f"this run was trained with task={task}, which has no setting {option}: leave {option} out"
                )
            config.task[option] = options[option]
    return config


def _by_name(given: Any, option: str, name_of: Callable[[Path], str]) -> dict[str, Path]:
    """Folders by name; those of a list, or a single one, get the name that `name_of` gives."""
    if isinstance(given, DictConfig):
        named = {str(name): Path(str(path)) for name, path in given.items()}
    elif isinstance(given, str | ListConfig):
        if isinstance(given, str) and option == "coarse":
            raise ValueError(
                f"coarse = {given!r} is one word; name each folder, in quotes that keep the shell from splitting it: "
                f"'coarse={{fcn8s:DIR,deeplab_vgg:DIR}}'"
            )
        paths = [Path(given)] if isinstance(given, str) else [Path(str(path)) for path in given]
        names = [name_of(path) for path in paths]
        named = {
            name if names.count(name) == 1 else f"{name}_{path.name}": path
            for name, path in zip(names, paths, strict=True)
        }
        if len(named) < len(paths):
            raise ValueError(f"{option} names the folder {paths[-1]} twice; give each once")
    else:
        raise ValueError(f"{option} must be a folder, [DIR,DIR] or {{name:DIR,name:DIR}}; got {given!r}")
    if not named:
        raise ValueError(f"{option} names no folder; give [DIR,DIR] or {{name:DIR,name:DIR}}")
    unfit = [name for name in named if not re.fullmatch(r"\w[\w.-]*", name)]
    if unfit:
        raise ValueError(f"{option}: {unfit[0]!r} becomes the name of a folder; take letters, digits, . - _")
    return named


def _connection_of(options: DictConfig) -> Callable[[Path], str]:
    return lambda path: str(read_config(RunFolder(path), trust=options.trust).propagation.connection)


def _check_source(name: str, path: Path | None, config: DictConfig) -> None:
    if path is None:
        return
    if not path.is_dir():
        raise FileNotFoundError(
            f"coarse.{name} = {path} is no folder; give what `spatialprop data predict ... --to {path}` wrote"
        )
    target = config.data._target_
    if "coarse" not in signature(get_object(target)).parameters:
        raise ValueError(
            f"{target} takes no coarse maps from a folder; evaluate on data that do, such as "
            f"data=folder data.root=DIR or data=voc data.root=DIR"
        )
