"""Configs of data sets from the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from spatialprop.data import Splits

T = TypeVar("T")


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """The config of `train.py` with these overrides."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    from spatialprop.experiment.overrides import CONF, register_resolvers, what_exists

    if not CONF.is_dir():
        raise FileNotFoundError(f"{CONF} does not exist; configs come with a checkout: pip install --editable .")
    register_resolvers()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF.resolve()), version_base="1.3"):
            return compose("train", list(overrides))
    except HydraException as error:
        hint = what_exists(overrides, "train")
        raise ValueError(hint or " ".join(str(error).split())) from None


def data_overrides(name: str, settings: Sequence[str]) -> list[str]:
    """`voc`, `root=DIR` as overrides: `data=voc`, `data.root=DIR`."""
    wrong = [setting for setting in settings if "=" not in setting]
    if wrong:
        raise ValueError(f"settings are key=value, such as root=DIR; got {wrong[0]!r}")
    return [f"data={name}", *(f"data.{setting.removeprefix('data.')}" for setting in settings)]


def open_splits(config: DictConfig) -> Splits:
    """The data set that a config names, without the imports that only training needs."""
    from hydra.utils import instantiate

    from spatialprop.data import ValueSplits

    splits: Splits | ValueSplits = unwrapped(lambda: instantiate(config.data))
    if isinstance(splits, ValueSplits):
        raise ValueError(f"{splits.labels.name} holds no label maps; train.py reads it by task=matte or task=colorize")
    return splits


def unwrapped(make: Callable[[], T]) -> T:
    """The result of `make`; an error of ours is raised as it is, not wrapped into one of Hydra's."""
    from hydra.errors import InstantiationException
    from omegaconf.errors import MissingMandatoryValue

    try:
        return make()
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, OSError | ValueError):
            raise cause from None
        raise ValueError(" ".join(str(error).split())) from None
    except MissingMandatoryValue as error:
        raise ValueError(f"{' '.join(str(error).split())}: give it, such as root=DIR") from None
