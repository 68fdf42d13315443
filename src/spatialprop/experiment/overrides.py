"""What a command line may say, without importing torch."""

import os
import re
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from spatialprop.experiment.latest import newest_run

CONF = Path(__file__).parents[3] / "conf"


def register_resolvers() -> None:
    """Make known to configs where results go.

    `${run_folder:...}` is a run's new folder, or the old one that it goes on in; `${evaluation_folder:...}` lies in
    that of the run, or beside the runs if there are several.
    """
    OmegaConf.register_new_resolver("run_folder", _run_folder, replace=True)
    OmegaConf.register_new_resolver("evaluation_folder", _evaluation_folder, replace=True)


def _run_folder(outputs: str, name: str, now: str, ckpt_path: str | None) -> str:
    if ckpt_path == "last":
        found = newest_run(Path(outputs), name)
        if found is None:
            raise FileNotFoundError(
                f"ckpt_path=last: there is no run in {Path(outputs, name)}; start one without ckpt_path"
            )
        return str(found)
    return str(Path(outputs, name, now))


def _evaluation_folder(run: Any, now: str) -> str:
    if run in (None, ""):
        raise ValueError("which run? Give its folder: python evaluate.py run=outputs/latest")
    if not isinstance(run, str):
        return str(Path("outputs", "universal", now))
    if not Path(run).is_dir():  # or Hydra would make it
        raise FileNotFoundError(f"run = {run} is not a folder; give the folder of a run, such as outputs/latest")
    return str(Path(run, "evaluations", now))


def run_main(main: Callable[[], Any], config_name: str, conf: Path = CONF) -> None:
    """Run Hydra's main function; where the command line was wrong, say what could have been meant."""
    unread = added_in_vain(sys.argv[1:], config_name, conf)
    if unread:
        sys.exit(unread)
    # Read when torch is imported: on a machine with other work, threads that spin while they wait slow a step tenfold.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        main()
    except SystemExit as stop:
        if stop.code:
            hint = what_exists(sys.argv[1:], config_name, conf)
            if hint:
                print(hint, file=sys.stderr)
        raise


def what_exists(arguments: Sequence[str], config_name: str, conf: Path = CONF) -> str | None:
    """The keys beside one that an override misspelt, None where all overrides compose."""
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException

    overrides = []
    try:
        for override in _parsed(arguments):
            if override.is_sweep_override():
                overrides.append(f"{override.get_key_element()}={next(override.sweep_string_iterator())}")
            else:
                overrides.append(str(override.input_line))
        with initialize_config_dir(str(conf.resolve()), version_base="1.3"):
            compose(config_name, overrides)
    except HydraException as error:
        cause = error.__cause__
        parent, key = getattr(cause, "parent_node", None), str(getattr(cause, "key", ""))
        if parent is None or not hasattr(parent, "keys"):
            return None
        at_the_top = "hydra" in parent
        return _alternatives(key, _top_level_keys(config_name, conf) if at_the_top else [str(name) for name in parent])
    return None


def added_in_vain(arguments: Sequence[str], config_name: str, conf: Path = CONF) -> str | None:
    """What could be meant by a key that is added (`+key=value`) where nothing would ever read it, None if all is well.

    Deeper down, what receives the added value says itself whether it knows it.
    """
    from hydra.errors import HydraException

    try:
        added = [
            override.key_or_group for override in _parsed(arguments) if override.is_add() or override.is_force_add()
        ]
    except HydraException:
        return None  # which Hydra reports
    known = _top_level_keys(config_name, conf)
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


def _top_level_keys(config_name: str, conf: Path) -> list[str]:
    """The groups that a config is composed from, chosen or not, and its keys."""
    config = OmegaConf.to_container(OmegaConf.load(conf / f"{config_name}.yaml"))
    assert isinstance(config, dict)
    groups = [str(group) for part in config.pop("defaults") if part != "_self_" for group in part]
    return [*groups, *(str(key) for key in config if key != "hydra")]


def _alternatives(key: str, keys: Sequence[str]) -> str:
    close = get_close_matches(key, keys, n=1)
    return f"'{key}' does not exist here; there are: {', '.join(keys)}" + (
        f". Did you mean '{close[0]}'?" if close else ""
    )
