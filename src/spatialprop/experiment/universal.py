"""Universal refinement: several trained runs on the coarse maps of several segmenters, none of them fine-tuned."""

import logging
import re
from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import Path
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf
from pytorch_lightning.callbacks import Callback

from spatialprop.callbacks import SaveExamples, SavePredictions
from spatialprop.data import LabelSet
from spatialprop.experiment.coarse import frozen_segmenter, with_coarse
from spatialprop.experiment.parts import make_baselines, make_data, make_splits, make_trainer
from spatialprop.experiment.run_folder import RunFolder
from spatialprop.experiment.trained import read_config, take_over, trained_task
from spatialprop.files import write_beside
from spatialprop.report import universal_tables, write_report, write_universal
from spatialprop.tasks import Refine
from spatialprop.tasks.universal import Universal

log = logging.getLogger(__name__)

OWN = "coarse"  # what the coarse maps of the first run's own segmenter are called


def evaluate_universal(options: DictConfig, folder: Path) -> dict[str, dict[str, Any]]:
    """Score every run of `options.run` on every source of `options.coarse`.

    Each source gets a folder of its own in `folder`, as a single evaluation would; the tables of all lie beside them.
    """
    runs = {name: RunFolder(path) for name, path in _by_name(options.run, "run", _connection_of(options)).items()}
    configs = {name: read_config(run, trust=options.trust) for name, run in runs.items()}
    for name, config in configs.items():
        if config.task.kind != "refine":
            raise ValueError(
                f"run {name} in {runs[name].path} was trained with task={config.task.kind}; coarse maps of other "
                f"segmenters are refined by runs of task=refine"
            )
        take_over(options, config)
    first = next(iter(configs.values()))
    sources = _by_name(options.coarse, "coarse", lambda path: path.name) if options.coarse is not None else {OWN: None}
    for name, path in sources.items():
        _check_source(name, path, first)

    results = {}
    for name, path in sources.items():
        log.info("Refining %s", name if path is None else f"the coarse maps of {name} in {path}")
        source = RunFolder(folder / name)
        results[name] = _evaluate_source(options, first, path, runs, configs, source)
    write_universal(folder, results)
    for title, table in universal_tables(results).items():
        log.info("\n%s\n%s", title, table.text())
    return results


def _evaluate_source(
    options: DictConfig,
    first: DictConfig,
    coarse: Path | None,
    runs: Mapping[str, RunFolder],
    configs: Mapping[str, DictConfig],
    into: RunFolder,
) -> dict[str, Any]:
    config = OmegaConf.create(OmegaConf.to_container(first))
    assert isinstance(config, DictConfig)
    if coarse is not None:
        config.data.coarse = str(coarse)
        config.segmenter = {"network": None, "simulate_missing": False}
    splits = make_splits(config)
    config.segmenter.fit = None  # other segmenters than the first run's own must come with weights
    own = next(iter(runs.values())) if options.get("segmenter") is None else into
    test = with_coarse(config, splits.test, frozen_segmenter(config, splits, own), into.coarse)
    task = Universal(
        {name: _refinement(runs[name], configs[name], splits.labels) for name in runs},
        splits.labels,
        make_baselines(options),
    )
    callbacks: list[Callback] = [SaveExamples(into.examples, config.callbacks.examples, config.callbacks.background)]
    if options.predictions:
        callbacks.append(SavePredictions(into.predictions))
    trainer = make_trainer(config, callbacks=callbacks, logger=False, enable_checkpointing=False)
    data = make_data(config, splits._replace(test=test), with_coarse=True)
    trainer.test(task, data, verbose=False)
    if trainer.is_global_zero:
        into.path.mkdir(parents=True, exist_ok=True)
        with write_beside(into.config) as file:
            file.write(OmegaConf.to_yaml(config, resolve=True).encode())
        into.write_labels(splits.labels, len(test))
        into.write_metrics(task.results)
        write_report(into.path)
    return task.results


def _refinement(run: RunFolder, config: DictConfig, labels: LabelSet) -> Refine:
    task = trained_task(run, config, labels, {})
    assert isinstance(task, Refine)
    return task


def _by_name(given: Any, option: str, name_of: Callable[[Path], str]) -> dict[str, Path]:
    """Folders by name; a list, or a single folder, is named by what lies in it."""
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
