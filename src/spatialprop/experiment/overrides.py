"""The command lines of train and evaluate, without importing torch."""

import os
import re
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

_PACKAGE = Path(__file__).parents[1]
# In a wheel the configs lie in the package, in a checkout at its top.
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parents[1] / "conf"


_command_line: list[str] = []  # of this process, while Hydra sees its own part of it


def train(config: DictConfig) -> float:
    """Run one job of the command `train`."""
    sys.argv[:] = _command_line or sys.argv  # Lightning starts further processes with it
    job = import_module("spatialprop.experiment.training").run_job  # late: tab completion must not wait for torch
    return float(job(config))


def evaluate(config: DictConfig) -> None:
    """Run one job of the command `evaluate`."""
    sys.argv[:] = _command_line or sys.argv
    import_module("spatialprop.experiment.evaluation").evaluate_job(config)


def run(name: str, arguments: Sequence[str]) -> None:
    """Run a command with Hydra's grammar; where an override is misspelt, print what could have been meant.

    Args:
        name: "train" or "evaluate": the config in conf/ and the job.
        arguments: Overrides and Hydra's own options.
    """
    import hydra

    # Python's parser takes no more overrides after an option that follows the first of them.
    arguments = sorted(arguments, key=lambda word: word not in ("--multirun", "-m"))
    if problem := added_in_vain(arguments, name) or (name == "evaluate" and _missing_run(arguments)):
        sys.exit(problem)
    # Read when torch is imported: threads that spin while they wait slow a step tenfold on a machine with other work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    register_resolvers()
    job = {"train": train, "evaluate": evaluate}[name]
    _command_line[:] = sys.argv
    try:
        sys.argv[1:] = arguments
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(job)()
    except SystemExit as stop:
        if stop.code and (hint := what_exists(arguments, name)):
            print(hint, file=sys.stderr)
        raise
    finally:
        sys.argv[:] = _command_line


def register_resolvers() -> None:
    """Register the resolvers that name the folders of results.

    `${run_folder:...}` is a new folder, or that of the run to resume; `${evaluation_folder:...}` is a new folder in
    that of the run, or under outputs/universal for several runs; `${sweep_folder:...}` is that of a multirun.
    """
    resolvers: dict[str, Callable[..., str]] = {
        "run_folder": _run_folder,
        "evaluation_folder": _evaluation_folder,
        "sweep_folder": _claim,
    }
    for name, resolver in resolvers.items():
        # The cache hands one folder to all who ask, the jobs of a multirun in other processes included.
        OmegaConf.register_new_resolver(name, resolver, replace=True, use_cache=True)


def newest_run(outputs: Path, name: str) -> Path | None:
    """The newest run of a name, None if there is none.

    It may have been stopped before its first checkpoint; to resume an older one instead would be a surprise.
    """
    return max((path.parent for path in (outputs / name).glob("*/config.yaml")), default=None)


def _run_folder(outputs: str, name: str, now: str, ckpt_path: str | None) -> str:
    if ckpt_path == "last":
        found = newest_run(Path(outputs), name)
        if found is None:
            raise FileNotFoundError(
                f"ckpt_path=last: there is no run in {Path(outputs, name)}; start one without ckpt_path"
            )
        return str(found)
    return _claim(outputs, name, now)


def _missing_run(arguments: Sequence[str]) -> str | None:
    """What is wrong with the run that a command line names: an error in a resolver would be told in 100 lines."""
    if any(word.startswith("-") for word in arguments):  # such as --help
        return None
    run = next((word.removeprefix("run=") for word in reversed(arguments) if word.startswith("run=")), "")
    if run == "":
        return "which run? Give its folder: run=outputs/latest"
    if run[0] not in "{['\"" and not Path(run).is_dir():
        return f"run = {run} is not a folder; give the folder of a run, such as outputs/latest"
    return None


def _evaluation_folder(run: Any, now: str) -> str:
    if run in (None, ""):
        raise ValueError("which run? Give its folder: run=outputs/latest")
    if not isinstance(run, str):
        return _claim("outputs", "universal", now)
    if not Path(run).is_dir():  # or Hydra would make it
        raise FileNotFoundError(f"run = {run} is not a folder; give the folder of a run, such as outputs/latest")
    return _claim(run, "evaluations", now)


def _claim(*parts: str) -> str:
    """Make a new folder, with a number behind its name where another process has made it before."""
    wanted = Path(*parts)
    if "--resolve" in sys.argv:  # the config is only shown
        return str(wanted)
    wanted.parent.mkdir(parents=True, exist_ok=True)
    for folder in (wanted, *(wanted.with_name(f"{wanted.name}_{number}") for number in range(2, 10_000))):
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return str(folder)
    raise FileExistsError(f"{wanted} and all names with a number behind it are taken")


def what_exists(arguments: Sequence[str], config_name: str) -> str | None:
    """List the keys where an override misspelt one; None if all overrides compose."""
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException

    overrides = []
    try:
        for override in _parsed(arguments):
            if override.is_sweep_override():
                overrides.append(f"{override.get_key_element()}={next(override.sweep_string_iterator())}")
            else:
                overrides.append(str(override.input_line))
        with initialize_config_dir(str(CONF.resolve()), version_base="1.3"):
            compose(config_name, overrides)
    except HydraException as error:
        cause = error.__cause__
        parent, key = getattr(cause, "parent_node", None), str(getattr(cause, "key", ""))
        if parent is None or not hasattr(parent, "keys"):
            return None
        at_the_top = "hydra" in parent
        return _alternatives(key, _top_level_keys(config_name) if at_the_top else [str(name) for name in parent])
    return None


def added_in_vain(arguments: Sequence[str], config_name: str) -> str | None:
    """Say what could be meant by an added top-level key (`+key=value`) that nothing would read; None if there is none.

    Below the top level, the code that receives the added value refuses unknown names itself.
    """
    from hydra.errors import HydraException

    try:
        added = [
            override.key_or_group for override in _parsed(arguments) if override.is_add() or override.is_force_add()
        ]
    except HydraException:
        return None  # which Hydra reports
    known = _top_level_keys(config_name)
    for key in added:
        first = re.split("[./@]", key)[0]
        if first not in (*known, "hydra"):
            return _alternatives(first, known)
    return None


def _parsed(arguments: Sequence[str]) -> Sequence[Any]:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    # Neither Hydra's own options nor what follows them, such as `--cfg job`.
    overrides = [word for word in arguments if not word.startswith("-") and ("=" in word or word.startswith("~"))]
    return OverridesParser.create().parse_overrides(overrides)


def _top_level_keys(config_name: str) -> list[str]:
    """The groups that a config is composed from, chosen or not, and its keys."""
    config = OmegaConf.to_container(OmegaConf.load(CONF / f"{config_name}.yaml"))
    assert isinstance(config, dict)
    groups = [str(group) for part in config.pop("defaults") if part != "_self_" for group in part]
    return [*groups, *(str(key) for key in config if key != "hydra")]


def _alternatives(key: str, keys: Sequence[str]) -> str:
    close = get_close_matches(key, keys, n=1)
    return f"'{key}' does not exist here; there are: {', '.join(keys)}" + (
        f". Did you mean '{close[0]}'?" if close else ""
    )
