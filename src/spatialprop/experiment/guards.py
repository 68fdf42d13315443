"""Refusals: configs that would run foreign code, and ways of starting runs that cannot work."""

import io
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from spatialprop.experiment.overrides import CONF
from spatialprop.experiment.parts import keeps_maps

TRUST = "If you know where this config comes from, say so: trust=true (for spatialprop export: --trust)"
_LARGEST = 1 << 20  # bytes of a config
OWN = ("spatialprop.", "torch.optim.")  # other libraries' functions can load files that run code


@cache
def known_targets() -> frozenset[str]:
    """The exact names of the classes and functions that spatialprop's own configs use.

    They are read from conf/, so that whoever adds a network or a task there need not add it here.
    """
    texts = (path.read_text(encoding="utf-8") for path in CONF.rglob("*.yaml"))
    names = (name for text in texts for name in re.findall(r"^\s*_target_:\s*([\w.]+)", text, re.MULTILINE))
    return frozenset(name for name in names if name.startswith(OWN))


def load_config(path: Path) -> DictConfig:
    """The config in a run's folder, as its YAML has it; every error names the file."""
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"it has more than {_LARGEST} bytes")
        text = path.read_text(encoding="utf-8")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
            raise ValueError("it repeats parts by YAML aliases, which can grow without bound and no run writes")
        config = OmegaConf.load(io.StringIO(text))
    except (ValueError, OSError, yaml.YAMLError, OmegaConfBaseException, RecursionError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{path} cannot be read as the config of a run: {reason}") from None
    if not isinstance(config, DictConfig):
        raise ValueError(f"{path} is not the config of a run")
    return config


def refuse_foreign_code(config: DictConfig, *, trust: bool, beside: DictConfig | None = None) -> None:
    """Refuse a config from a run's folder that could do more than choose settings.

    Call it before anything of the config is resolved or instantiated: a resolver such as `${oc.env:...}` is code too,
    and whatever is resolved twice, as Hydra does it, can be put together from parts that look like none.

    Args:
        config: The whole config.
        trust: Accept everything.
        beside: A config of the caller's own; the targets that it names are accepted too.
    """
    if trust:
        return
    for key, value in _leaves(OmegaConf.to_container(config, resolve=False), ""):
        if isinstance(value, str) and "${" in value:
            raise ValueError(
                f"{key} = {value!r} is an interpolation, which can read environment variables and files; a run's "
                f"config holds values alone. {TRUST}"
            )
    known = known_targets() | ({target for _, target in _targets(beside)} if beside is not None else set())
    for key, target in _targets(config):
        if target not in known and not _is_another_name(target):
            raise ValueError(f"{key} = {target!r} would run code that none of spatialprop's configs names. {TRUST}")


def refuse_addresses(config: DictConfig) -> None:
    """Refuse a config from a run's folder that would fetch what an address names; the folder holds its weights."""
    for key, value in _leaves(OmegaConf.to_container(config, resolve=False), ""):
        if isinstance(value, str) and value.startswith(("http://", "https://")):
            raise ValueError(f"{key} = {value!r} would be fetched, and a run's folder holds its own weights. {TRUST}")


def _is_another_name(target: str) -> bool:
    """Whether a name within spatialprop leads to what its own configs name, as `nn.segmenters.UNet` does."""
    if not target.startswith("spatialprop."):
        return False
    try:
        found = get_object(target)
        return any(found is get_object(name) for name in known_targets())
    except Exception:  # the name leads nowhere
        return False


def _targets(config: DictConfig) -> Iterator[tuple[str, str]]:
    for key, value in _leaves(OmegaConf.to_container(config, resolve=True), ""):
        if key.rpartition(".")[2] == "_target_":
            yield key, str(value)


def _leaves(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Each value with its dotted key; the keys of a mapping count as values of it."""
    if not isinstance(node, dict | list):
        yield key, node
        return
    for name, value in node.items() if isinstance(node, dict) else enumerate(node):
        yield key, name
        yield from _leaves(value, f"{key}.{name}".lstrip("."))


def refuse_unnamed_multirun(config: DictConfig) -> None:
    """Refuse to resume a multirun whose folder is not named: a new one has nothing to resume from."""
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN and config.ckpt_path == "last" and not _overridden("hydra.sweep.dir"):
        raise ValueError("ckpt_path=last: which multirun is to go on? Name it: hydra.sweep.dir=multirun/<date>_<time>")


def refuse_folders_apart(config: DictConfig) -> None:
    """Refuse processes of torchrun or srun without a common folder: each would take a new one."""
    started = max(int(os.environ.get(name, 1)) for name in ("WORLD_SIZE", "SLURM_NTASKS"))
    one_run = HydraConfig.get().mode == RunMode.RUN and config.ckpt_path != "last"
    if one_run and started > 1 and _several_devices(config) and not _overridden("hydra.run.dir"):
        raise ValueError(
            f"{started} processes were started from outside, and each would take a new folder; name one for all: "
            f"hydra.run.dir=outputs/{config.name}/NAME"
        )


def refuse_processes_in_multirun(config: DictConfig) -> None:
    """Refuse a multirun whose processes would each start the whole multirun again."""
    launched = "TORCHELASTIC_RUN_ID" in os.environ or "SLURM_PROCID" in os.environ
    multirun = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    if multirun and _several_devices(config) and not launched:
        raise ValueError(
            f"--multirun with trainer.devices={config.trainer.devices}: every process that Lightning starts would get "
            f"the whole command line and run all jobs again. Set trainer.devices=1, run the jobs one by one with "
            f"torchrun, or let SLURM start them (hydra/launcher=submitit_slurm)"
        )


def _overridden(key: str) -> bool:
    return any(override.startswith(f"{key}=") for override in HydraConfig.get().overrides.hydra)


def _several_devices(config: DictConfig) -> bool:
    devices = config.trainer.devices
    one = devices in (1, "1") or (hasattr(devices, "__len__") and len(devices) == 1)
    return not one or config.trainer.get("num_nodes", 1) > 1


def check_settings(config: DictConfig) -> None:
    """Refuse settings that a trainer would only notice after an hour."""
    if config.callbacks.weights not in ("best", "last"):
        raise ValueError(f"callbacks.weights must be best or last; got {config.callbacks.weights!r}")
    least = {
        "trainer.max_epochs": -1,  # no end
        "trainer.max_steps": -1,
        "trainer.check_val_every_n_epoch": 1,
        "segmenter.fit.max_epochs": 1,
        "segmenter.fit.validate_every": 1,
        "limit.images": 1,
        "limit.fit_epochs": 1,
    }
    changed = [key for key in ("degrade", "rough", "loader.most_classes") if OmegaConf.select(config, key) is not None]
    if changed and not keeps_maps(config):
        raise ValueError(
            f"{changed[0]} changes coarse maps before a step begins, and segmenter.cache=none has none then; take "
            f"segmenter.cache=files or memory, or {changed[0]}=null"
        )
    for key, smallest in least.items():
        value = OmegaConf.select(config, key)
        if value is not None and (not isinstance(value, int) or value < smallest):
            raise ValueError(f"{key} must be a whole number, {smallest} or more; got {value!r}")
