"""Weights of networks that spread values: written, and read with every setting checked."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from spatialprop.errors import InputError
from spatialprop.nn.guidance import LightGuidance, ResidualGuidance, UNetGuidance
from spatialprop.nn.propagation import CONNECTIONS
from spatialprop.nn.values import POSITIVE, ValueNetwork
from spatialprop.ops import DIRECTIONS
from spatialprop.stored import Rules, check, distinct, find_weights, one_of, read_network, short, whole, write_network
from spatialprop.stored import packaged as packaged_in

PACKAGE = Path(__file__).parents[1] / "weights" / "values"
KINDS: dict[str, dict[str, Any]] = {  # what a network is for, and what follows from that
    "matte": {"channels": 1, "image_channels": 3, "bounds": (0.0, 1.0)},
    "colour": {"channels": 2, "image_channels": 1, "bounds": (-0.5, 0.5)},
}
_MOST_STAGES = 7
_GUIDANCE: dict[str, tuple[Callable[..., nn.Module], Rules]] = {
    "light": (LightGuidance, {"width": whole(8, 256), "stages": whole(3, 7)}),
    "unet": (UNetGuidance, {"width": whole(1, 128)}),
}
_NETWORK: Rules = {
    "kind": one_of(*KINDS),
    "stride": one_of(1, 2),
    "proposals": one_of(False, True),
    "keep_known": one_of(False, True),
    "own_gates": one_of(False, True),
    "connection": one_of(*CONNECTIONS),
    "normalization": one_of(*POSITIVE),
    "units": whole(1, 8),
    "separate_gates": one_of(False, True),
    "directions": distinct(DIRECTIONS, 1),
}


def packaged() -> list[str]:
    """Names of the weights that come with the package."""
    return packaged_in(PACKAGE)


def save_values(network: ValueNetwork, path: str | os.PathLike[str], description: str = "") -> None:
    """Write a network as a file that `Matte.load` or `Colorize.load` takes.

    Args:
        network: For mattes or colours, with a residual, light or U-Net guidance.
        path: Where to, `.safetensors`.
        description: What it was trained on and how it scored, in words.
    """
    write_network(network, describe(network), path, description)


def describe(network: ValueNetwork) -> dict[str, Any]:
    """The settings that a network of the same shape is built from, as plain JSON."""
    found = {"channels": network.channels, "image_channels": network.image_channels, "bounds": network.bounds}
    kind = next((kind for kind, wanted in KINDS.items() if wanted == found), None)
    if kind is None:
        raise ValueError(f"weights are kept of networks for mattes and colours; this one has {found}")
    guidance = network.guidance
    if isinstance(guidance, ResidualGuidance):
        built: dict[str, Any] = {"name": "residual", "widths": list(guidance.widths), "depths": list(guidance.depths)}
    elif isinstance(guidance, LightGuidance):
        stem = next(layer for layer in guidance.stem if isinstance(layer, nn.Conv2d))
        built = {"name": "light", "width": stem.out_channels, "stages": guidance.stages}
    elif isinstance(guidance, UNetGuidance):
        built = {"name": "unet", "width": guidance.head.in_channels}
    else:
        raise ValueError(
            f"weights are kept of residual, light and unet guidance; got {type(guidance).__name__}: train with one"
        )
    layer = network.propagation
    return {
        "guidance": built,
        "kind": kind,
        "stride": network.stride,
        "proposals": network.proposals,
        "keep_known": network.keep_known,
        "own_gates": network.own_gates,
        "windows": list(network.windows),
        "connection": layer.connection,
        "normalization": layer.normalization,
        "units": layer.units,
        "separate_gates": layer.separate_gates,
        "directions": list(layer.directions),
    }


def build(settings: Any, wanted: str) -> ValueNetwork:
    """A network from settings of unknown origin: every one of them is checked."""
    if isinstance(settings, dict) and "kind" not in settings:
        raise InputError(f"these are weights of a refiner, not of a network of the kind {wanted!r}")
    if not isinstance(settings, dict) or not isinstance(settings.get("guidance"), dict):
        raise InputError(f"network must be an object with an object `guidance`; got {short(settings)}")
    own = {key: value for key, value in settings.items() if key != "guidance"}
    windows = own.pop("windows", None)
    if not isinstance(windows, list) or len(windows) > 8 or not all(whole(2, 4096).allows(one) for one in windows):
        raise InputError(f"network.windows must be at most 8 whole numbers from 2 to 4096; got {short(windows)}")
    check(own, _NETWORK, "network")
    kind = own.pop("kind")
    if kind != wanted:
        raise InputError(f"they are of the kind {kind!r}, not {wanted!r}: load them by the other command or class")
    stride = own["stride"]
    guidance = _guidance(dict(settings["guidance"]), stride)
    try:
        return ValueNetwork(guidance, **KINDS[kind], windows=windows, **own)
    except ValueError as error:  # settings that are fine one by one and not together
        raise InputError(f"network: {error}") from None


def _guidance(settings: dict[str, Any], stride: int) -> Callable[..., nn.Module]:
    name = settings.pop("name", None)
    if name == "residual":
        for key in ("widths", "depths"):
            numbers = settings.get(key)
            least, most = (1, 256) if key == "widths" else (0, 8)
            sound = isinstance(numbers, list) and 2 <= len(numbers) <= _MOST_STAGES
            if not sound or not all(whole(least, most).allows(number) for number in numbers):  # type: ignore[union-attr]
                raise InputError(
                    f"network.guidance.{key} must be 2 to {_MOST_STAGES} whole numbers from {least} to {most}; "
                    f"got {short(numbers)}"
                )
        if len(settings["widths"]) != len(settings["depths"]) or settings.keys() != {"widths", "depths"}:
            raise InputError(f"network.guidance must have as many widths as depths, and no more; got {short(settings)}")
        return partial(ResidualGuidance, **settings)
    if not isinstance(name, str) or name not in _GUIDANCE:
        raise InputError(f"network.guidance.name must be residual, light or unet; got {short(name)}")
    kind, rules = _GUIDANCE[name]
    check(settings, rules, "network.guidance")
    return partial(kind, **settings, **({"stride": stride} if name == "light" else {}))


def load_values(source: str | os.PathLike[str], kind: str) -> tuple[ValueNetwork, str]:
    """The network in a file, or that of a name, and its description."""
    path = find_weights(source, PACKAGE)
    try:
        return read_network(path, partial(build, wanted=kind))
    except InputError as error:
        raise InputError(f"{path} cannot be used: {error}") from None
