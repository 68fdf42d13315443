"""Established ways to do what networks here are trained for.

Those of segmentations take an image and coarse probabilities and give labels; those of values (mattes, colours) take an
image, known values and their confidence and give all values.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib.util import find_spec
from inspect import signature
from typing import Any

from numpy.typing import NDArray

from spatialprop.baselines.densecrf import DenseCRF
from spatialprop.baselines.guided_filter import GuidedFilter
from spatialprop.baselines.optimization import Optimization
from spatialprop.baselines.pymatting import PyMatting

Baseline = Callable[..., NDArray[Any]]

BASELINES: dict[str, Callable[..., Baseline]] = {"densecrf": DenseCRF, "guided_filter": GuidedFilter}
OF_VALUES: dict[str, Callable[..., Baseline]] = {
    "closed_form": partial(PyMatting, "cf"),
    "knn": partial(PyMatting, "knn"),
    "lkm": partial(PyMatting, "lkm"),
    "optimization": Optimization,
}


def installed(*, values: bool = False) -> list[str]:
    """Names of the usual baselines, of segmentations or of values, as far as their packages are installed."""
    name, package = ("closed_form", "pymatting") if values else ("densecrf", "pydensecrf")
    return [name] if find_spec(package) else []


def make(name: str, settings: Mapping[str, Any] | None = None, *, values: bool = False) -> Baseline:
    """The baseline of a name, with default values for settings that are not given."""
    choices = OF_VALUES if values else BASELINES
    if name not in choices:
        raise ValueError(f"unknown baseline {name!r}; choose from {', '.join(choices)}")
    given = dict(settings or {})
    known = signature(choices[name]).parameters
    for key, value in given.items():
        if key not in known:
            raise ValueError(f"the baseline {name} has no setting {key!r}; it has {', '.join(known) or 'none'}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"baselines: {name}.{key} must be a number; got {value!r}")
    return choices[name](**given)


def make_all(
    wanted: Iterable[str | Mapping[str, Any]] | Mapping[str, Any], *, values: bool = False
) -> dict[str, Baseline]:
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
            made[name] = make(name, settings, values=values)
    return made
