"""Weights in a file that says of itself which network they belong to."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from torch import nn

from spatialprop.errors import InputError
from spatialprop.nn.guidance import LightGuidance, UNetGuidance
from spatialprop.nn.propagation import CONNECTIONS
from spatialprop.nn.refinement import HINTS, RefinementNetwork
from spatialprop.nn.trusting import TrustingNetwork
from spatialprop.ops import DIRECTIONS
from spatialprop.ops.normalization import MODES
from spatialprop.stored import (
    Rules,
    check,
    distinct,
    find_weights,
    one_of,
    read_network,
    short,
    whole,
    wholes,
    write_network,
)
from spatialprop.stored import packaged as packaged_in

PACKAGE = Path(__file__).parents[1] / "weights"

_GUIDANCE: dict[str, tuple[Callable[..., nn.Module], Rules]] = {
    "light": (LightGuidance, {"width": whole(8, 256), "stages": whole(3, 7), "stride": one_of(1, 2, 4)}),
    "unet": (UNetGuidance, {"width": whole(1, 128)}),
}
_PROPAGATION: Rules = {
    "connection": one_of(*CONNECTIONS),
    "normalization": one_of(*MODES),
    "units": whole(1, 8),
    "separate_gates": one_of(False, True),
    "merge": one_of("max", "mean"),
    "directions": distinct(DIRECTIONS, 1),
    "hints": distinct(HINTS, 0),
}
_TRUSTING: Rules = {
    "widths": wholes(1, 1024, 3, 8),
    "depths": wholes(0, 32, 3, 8),
    "units": whole(1, 8),
    "separate_gates": one_of(False, True),
    "fine_offsets": wholes(1, 64, 1, 8),
    "offsets": wholes(1, 64, 1, 8),
    "windows": wholes(2, 256, 1, 8),
}
Network: TypeAlias = RefinementNetwork | TrustingNetwork


def packaged() -> list[str]:
    """Names of the weights that come with the package."""
    return packaged_in(PACKAGE)


def save_refiner(network: Network, path: str | os.PathLike[str], description: str = "") -> None:
    """Write a network that knows no classes as a file that `Refiner.load` takes.

    Args:
        network: A trusting one, or with `hidden=None` and a light or U-Net guidance.
        path: Where to, `.safetensors`.
        description: What it was trained on and how it scored, in words.

    Example:
        >>> import tempfile
        >>> from spatialprop import Refiner
        >>> path = Path(tempfile.mkdtemp(), "mine.safetensors")
        >>> save_refiner(RefinementNetwork(LightGuidance), path, "untrained")
        >>> Refiner.load(path).description
        'untrained'
    """
    write_network(network, describe(network), path, description)


def describe(network: Network) -> dict[str, Any]:
    """The settings that a network of the same shape is built from, as plain JSON."""
    if isinstance(network, TrustingNetwork):
        lists = ("widths", "depths", "fine_offsets", "offsets", "windows")
        settings: dict[str, Any] = {name: list(getattr(network, name)) for name in lists}
        layer = network.propagation
        settings |= {"units": layer.units, "separate_gates": layer.separate_gates}
        return settings if network.first is None else settings | {"first": describe(network.first)}
    if network.before is not None:
        raise ValueError(
            "this network has hidden maps, so it knows its classes; a refiner works for any: train with hidden=null"
        )
    guidance = network.guidance
    if isinstance(guidance, LightGuidance):
        stem = next(layer for layer in guidance.stem if isinstance(layer, nn.Conv2d))
        built: dict[str, Any] = {
            "name": "light", "width": stem.out_channels, "stages": guidance.stages, "stride": guidance.stride,
        }  # fmt: skip
    elif isinstance(guidance, UNetGuidance):
        built = {"name": "unet", "width": guidance.head.in_channels}
    else:
        raise ValueError(
            f"a refiner's guidance is one of {', '.join(_GUIDANCE)}; got {type(guidance).__name__}: train with one"
        )
    layer = network.propagation
    return {
        "guidance": built,
        "connection": layer.connection,
        "normalization": layer.normalization,
        "units": layer.units,
        "separate_gates": layer.separate_gates,
        "merge": layer.merge,
        "directions": list(layer.directions),
        "hints": list(network.hints),
    }


def build(settings: Any) -> Network:
    """A network from settings of unknown origin: every one of them is checked."""
    if isinstance(settings, dict) and "guidance" not in settings:
        own = {key: value for key, value in settings.items() if key != "first"}
        first = _trusting(settings["first"], "network.first") if "first" in settings else None
        return _trusting(own, "network", first)
    if not isinstance(settings, dict) or not isinstance(settings.get("guidance"), dict):
        raise InputError(f"network must be an object with an object `guidance`; got {short(settings)}")
    propagation = {key: value for key, value in settings.items() if key != "guidance"}
    check(propagation, _PROPAGATION, "network")
    guidance = dict(settings["guidance"])
    name = guidance.pop("name", None)
    if not isinstance(name, str) or name not in _GUIDANCE:
        raise InputError(f"network.guidance.name must be one of {', '.join(_GUIDANCE)}; got {short(name)}")
    kind, rules = _GUIDANCE[name]
    check(guidance, rules, "network.guidance")
    try:
        return RefinementNetwork(partial(kind, **guidance), **propagation)
    except ValueError as error:  # settings that are fine one by one and not together
        raise InputError(f"network: {error}") from None


def _trusting(settings: Any, where: str, first: TrustingNetwork | None = None) -> TrustingNetwork:
    if not isinstance(settings, dict):
        raise InputError(f"{where} must be an object; got {short(settings)}")
    check(settings, _TRUSTING, where)
    if len(settings["widths"]) != len(settings["depths"]):
        raise InputError(f"{where}.widths and {where}.depths must be of one length")
    return TrustingNetwork(**settings, first=first)


def load_network(source: str | os.PathLike[str]) -> tuple[Network, str]:
    """The network in a file, or that of a name, and its description."""
    path = find(source)
    try:
        return read_network(path, build)
    except InputError as error:
        raise InputError(f"{path} is not a refiner's weights: {error}") from None


def find(source: str | os.PathLike[str]) -> Path:
    """The file that a name or a path stands for."""
    return find_weights(source, PACKAGE)
