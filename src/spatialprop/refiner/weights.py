"""Weights in a file that says of itself which network they belong to."""

import json
import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from spatialprop.errors import InputError
from spatialprop.files import write_file
from spatialprop.nn.guidance import LightGuidance, UNetGuidance
from spatialprop.nn.propagation import CONNECTIONS
from spatialprop.nn.refinement import HINTS, RefinementNetwork
from spatialprop.ops import DIRECTIONS
from spatialprop.ops.normalization import MODES

FORMAT = 1
KEY = "spatialprop"  # of the header, beside which other programs may keep what they like
LARGEST_FILE = 256 << 20  # bytes
LARGEST_HEADER = 1 << 20
PACKAGE = Path(__file__).parents[1] / "weights"
_SUFFIX = ".safetensors"
_DTYPES = {"F32", "F16", "BF16", "I64"}  # the last one for what batch norm counts


class _Rule(NamedTuple):
    """What a setting must be, in words and as a test of any value that JSON has."""

    words: str
    allows: Callable[[Any], bool]


def _whole(least: int, most: int) -> _Rule:
    return _Rule(f"a whole number from {least} to {most}", lambda value: type(value) is int and least <= value <= most)


def _one_of(*choices: Any) -> _Rule:
    return _Rule(
        f"one of {', '.join(map(json.dumps, choices))}",
        lambda value: any(type(value) is type(choice) and value == choice for choice in choices),
    )


def _distinct(names: tuple[str, ...], least: int) -> _Rule:
    return _Rule(
        f"a list of distinct names out of {', '.join(names)}, at least {least}",
        lambda value: (
            isinstance(value, list)
            and all(isinstance(name, str) and name in names for name in value)
            and least <= len(value) == len(set(value))
        ),
    )


_GUIDANCE: dict[str, tuple[Callable[..., nn.Module], Mapping[str, _Rule]]] = {
    "light": (LightGuidance, {"width": _whole(8, 256), "stages": _whole(3, 7), "stride": _one_of(1, 2, 4)}),
    "unet": (UNetGuidance, {"width": _whole(1, 128)}),
}
_PROPAGATION: Mapping[str, _Rule] = {
    "connection": _one_of(*CONNECTIONS),
    "normalization": _one_of(*MODES),
    "units": _whole(1, 8),
    "separate_gates": _one_of(False, True),
    "merge": _one_of("max", "mean"),
    "directions": _distinct(DIRECTIONS, 1),
    "hints": _distinct(HINTS, 0),
}


def packaged() -> list[str]:
    """Names of the weights that come with the package."""
    return sorted(path.stem for path in PACKAGE.glob(f"*{_SUFFIX}"))


def save_refiner(network: RefinementNetwork, path: str | os.PathLike[str], description: str = "") -> None:
    """Write a network that knows no classes as a file that `Refiner.load` takes.

    Args:
        network: With `hidden=None` and a light or U-Net guidance.
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
    from safetensors.torch import save

    path = Path(path)
    if path.suffix != _SUFFIX:
        raise ValueError(f"weights are written as {_SUFFIX}; got {path}: call it {path.with_suffix(_SUFFIX).name}")
    header = {"format": FORMAT, "network": describe(network), "description": description}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise ValueError(f"the network's {broken[0]} is not finite: its training diverged; take an earlier checkpoint")
    write_file(path, save(tensors, metadata={KEY: json.dumps(header)}))


def describe(network: RefinementNetwork) -> dict[str, Any]:
    """The settings that a network of the same shape is built from, as plain JSON."""
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


def build(settings: Any) -> RefinementNetwork:
    """A network from settings of unknown origin: every one of them is checked."""
    if not isinstance(settings, dict) or not isinstance(settings.get("guidance"), dict):
        raise InputError(f"network must be an object with an object `guidance`; got {_short(settings)}")
    propagation = {key: value for key, value in settings.items() if key != "guidance"}
    _check(propagation, _PROPAGATION, "network")
    guidance = dict(settings["guidance"])
    name = guidance.pop("name", None)
    if not isinstance(name, str) or name not in _GUIDANCE:
        raise InputError(f"network.guidance.name must be one of {', '.join(_GUIDANCE)}; got {_short(name)}")
    kind, rules = _GUIDANCE[name]
    _check(guidance, rules, "network.guidance")
    try:
        return RefinementNetwork(partial(kind, **guidance), **propagation)
    except ValueError as error:  # settings that are fine one by one and not together
        raise InputError(f"network: {error}") from None


def load_network(source: str | os.PathLike[str]) -> tuple[RefinementNetwork, str]:
    """The network in a file, or that of a name, and its description."""
    path = find(source)
    try:
        return _read(path)
    except InputError as error:
        raise InputError(f"{path} is not a refiner's weights: {error}") from None


def find(source: str | os.PathLike[str]) -> Path:
    """The file that a name or a path stands for."""
    text = os.fspath(source)
    if text in packaged():
        return PACKAGE / f"{text}{_SUFFIX}"
    path = Path(text)
    if path.suffix != _SUFFIX:
        known = ", ".join(packaged()) or "none"
        raise InputError(f"no weights are called {text!r}; packaged weights: {known}; or give a {_SUFFIX} file")
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    return path


def _read(path: Path) -> tuple[RefinementNetwork, str]:
    from safetensors import SafetensorError, safe_open

    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise InputError(f"it has {size >> 20} MiB; at most {LARGEST_FILE >> 20} are read")
    with path.open("rb") as file:
        header_size = int.from_bytes(file.read(8), "little")
    if header_size > LARGEST_HEADER:
        raise InputError(f"its header claims {header_size} bytes; at most {LARGEST_HEADER} are read")
    try:
        with safe_open(path, framework="pt") as file:
            header = _header((file.metadata() or {}).get(KEY))
            network = build(header["network"])
            own = network.state_dict()
            names = list(file.keys())
            _check_names(names, own)
            for name in names:
                stored = file.get_slice(name)
                if tuple(stored.get_shape()) != tuple(own[name].shape) or stored.get_dtype() not in _DTYPES:
                    raise InputError(
                        f"{name} is {stored.get_dtype()} {tuple(stored.get_shape())}, the network that its header "
                        f"names needs {tuple(own[name].shape)}"
                    )
            state = {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise InputError(f"{error}; get it again") from None
    _check_values(state)
    network.load_state_dict(state)
    return network, str(header.get("description", ""))


def _header(text: str | None) -> dict[str, Any]:
    if text is None:
        raise InputError(f"its metadata lack the key {KEY!r}; write it with spatialprop.refiner.save_refiner")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        raise InputError(f"the metadata under {KEY!r} are not JSON") from None
    if not isinstance(header, dict) or type(header.get("format")) is not int:
        raise InputError(f"the metadata under {KEY!r} must be an object with a whole number `format`")
    if header["format"] != FORMAT:
        raise InputError(f"it is of format {header['format']}, this version reads {FORMAT}; update spatialprop")
    if "network" not in header:
        raise InputError("the header lacks `network`")
    return header


def _check(settings: Mapping[str, Any], rules: Mapping[str, _Rule], where: str) -> None:
    for name in sorted(settings.keys() ^ rules.keys(), key=str):
        problem = "is missing" if name in rules else "is not known"
        raise InputError(f"{where}.{name} {problem}; the settings are {', '.join(rules)}")
    for name, rule in rules.items():
        if not rule.allows(settings[name]):
            raise InputError(f"{where}.{name} must be {rule.words}; got {_short(settings[name])}")


def _check_names(names: list[str], own: Mapping[str, Tensor]) -> None:
    for name in sorted(own.keys() - set(names)):
        raise InputError(f"{name} is missing")
    for name in sorted(set(names) - own.keys()):
        raise InputError(f"{_short(name)} is not part of the network that its header names")


def _check_values(state: Mapping[str, Tensor]) -> None:
    for name, tensor in state.items():
        if not math.isfinite(tensor.float().abs().sum().item()):
            raise InputError(f"{name} holds values that are not finite")
        if name.endswith("running_var") and bool((tensor < 0).any()):
            raise InputError(f"{name} holds negative variances")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
