"""What a command line may say, without importing torch."""

import os
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
                f"ckpt_path=last: no run in {Path(outputs, name)} has a checkpoint; start one without ckpt_path"
            )
        return str(found)
    return str(Path(outputs, name, now))


def _evaluation_folder(run: Any, now: str) -> str:
    return str(Path(run, "evaluations", now) if isinstance(run, str) else Path("outputs", "universal", now))


def run_main(main: Callable[[], Any], config_name: str, conf: Path = CONF) -> None:
    """Run Hydra's main function; where the command line was wrong, say what could have been meant."""
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


def what_exists(arguments: Sequence[str], config_name: str, conf: Path) -> str | None:
    """The keys beside one that an override misspelt, None where all overrides compose."""
    from hydra import compose, initialize_config_dir
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    overrides = []
    try:
        for override in OverridesParser.create().parse_overrides([a for a in arguments if not a.startswith("-")]):
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
        keys = [str(name) for name in parent]
        close = get_close_matches(key, keys, n=1)
        return f"'{key}' does not exist here; there are: {', '.join(keys)}" + (
            f". Did you mean '{close[0]}'?" if close else ""
        )
    return None
