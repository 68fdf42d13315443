"""Established ways to refine a segmentation: an image and coarse probabilities in, labels out."""

from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatialprop.baselines.densecrf import DenseCRF
from spatialprop.baselines.guided_filter import GuidedFilter

Baseline = Callable[[NDArray[np.uint8], NDArray[np.float32]], NDArray[np.integer[Any]]]

BASELINES: dict[str, Callable[..., Baseline]] = {"densecrf": DenseCRF, "guided_filter": GuidedFilter}


def installed() -> list[str]:
    """Names of the baselines that can run here without further packages."""
    return ["densecrf"] if find_spec("pydensecrf") else []


def make(name: str, settings: Mapping[str, Any] | None = None) -> Baseline:
    """The baseline of a name, with default values for settings that are not given."""
    if name not in BASELINES:
        raise ValueError(f"unknown baseline {name!r}; choose from {', '.join(BASELINES)}")
    given = dict(settings or {})
    known = signature(BASELINES[name]).parameters
    for key, value in given.items():
        if key not in known:
            raise ValueError(f"the baseline {name} has no setting {key!r}; it has {', '.join(known)}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"baselines: {name}.{key} must be a number; got {value!r}")
    return BASELINES[name](**given)


def make_all(wanted: Iterable[str | Mapping[str, Any]] | Mapping[str, Any]) -> dict[str, Baseline]:
    """Make baselines from their names, from names with settings, or from a list of both.

    Example:
        >>> made = make_all([{"guided_filter": {"radius": 4}}])
        >>> made["guided_filter"].radius, list(make_all(["guided_filter"])), list(make_all({"guided_filter": {}}))
        (4, ['guided_filter'], ['guided_filter'])
    """
    made: dict[str, Baseline] = {}
    for entry in [wanted] if isinstance(wanted, Mapping) else wanted:
        named = entry if isinstance(entry, Mapping) else {entry: {}}
        for name, settings in named.items():
            if name in made:
                raise ValueError(f"baselines: {name} is there twice; one result of each name fits into the scores")
            if not isinstance(settings, Mapping):
                raise TypeError(
                    f"baselines: the settings of {name} must be a mapping, such as {{}} for the usual ones; "
                    f"got {settings!r}"
                )
            made[name] = make(name, settings)
    return made
