"""Weights in a file that says of itself which network they belong to, in settings that are checked one by one."""

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from torch import Tensor, nn

from spatialprop import hub
from spatialprop.errors import InputError
from spatialprop.files import write_file

FORMAT = 2  # files of format 1 are read too
KEY = "spatialprop"  # of the header, beside which other programs may keep what they like
LARGEST_FILE = 256 << 20  # bytes
LARGEST_HEADER = 1 << 20
SUFFIX = ".safetensors"
_DTYPES = {"F32", "F16", "BF16", "I64"}  # the last one for what batch norm counts
Network = TypeVar("Network", bound=nn.Module)


class Rule(NamedTuple):
    """What a setting must be, in words and as a test of any value that JSON has."""

    words: str
    allows: Callable[[Any], bool]


Rules = Mapping[str, Rule]


def whole(least: int, most: int) -> Rule:
    """A whole number within bounds."""
    return Rule(f"a whole number from {least} to {most}", lambda value: type(value) is int and least <= value <= most)


def one_of(*choices: Any) -> Rule:
    """One of some values, of the same type."""
    return Rule(
        f"one of {', '.join(map(json.dumps, choices))}",
        lambda value: any(type(value) is type(choice) and value == choice for choice in choices),
    )


def wholes(least: int, most: int, shortest: int, longest: int) -> Rule:
    """A list of whole numbers within bounds, and of a length within bounds."""
    return Rule(
        f"a list of {shortest} to {longest} whole numbers from {least} to {most}",
        lambda value: (
            isinstance(value, list)
            and shortest <= len(value) <= longest
            and all(type(one) is int and least <= one <= most for one in value)
        ),
    )


def distinct(names: tuple[str, ...], least: int) -> Rule:
    """A list of distinct names."""
    return Rule(
        f"a list of distinct names out of {', '.join(names)}, at least {least}",
        lambda value: (
            isinstance(value, list)
            and all(isinstance(name, str) and name in names for name in value)
            and least <= len(value) == len(set(value))
        ),
    )


def packaged(folder: Path) -> list[str]:
    """Names of the weights that come with the package in one of its folders."""
    return sorted(path.stem for path in folder.glob(f"*{SUFFIX}"))


def find_weights(source: str | os.PathLike[str], folder: Path) -> Path:
    """The file that a name or a path stands for."""
    text = os.fspath(source)
    if text in packaged(folder):
        return folder / f"{text}{SUFFIX}"
    if text.startswith(hub.PREFIX):
        return hub.fetch(text, LARGEST_FILE)
    path = Path(text)
    if path.suffix != SUFFIX:
        known = ", ".join(packaged(folder)) or "none"
        raise InputError(f"no weights are called {text!r}; packaged weights: {known}; or give a {SUFFIX} file")
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    return path


def write_network(
    network: nn.Module, settings: Mapping[str, Any], path: str | os.PathLike[str], description: str
) -> None:
    """Write a network and the settings that one of the same shape is built from."""
    from safetensors.torch import save

    path = Path(path)
    if path.suffix != SUFFIX:
        raise ValueError(f"weights are written as {SUFFIX}; got {path}: call it {path.with_suffix(SUFFIX).name}")
    header = {"format": FORMAT, "network": settings, "description": description}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise ValueError(f"the network's {broken[0]} is not finite: its training diverged; take an earlier checkpoint")
    write_file(path, save(tensors, metadata={KEY: json.dumps(header)}))


def read_network(path: Path, build: Callable[[Any], Network]) -> tuple[Network, str]:
    """The network in a file, made by `build` from the settings in its header, and its description."""
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
        raise InputError(f"its metadata lack the key {KEY!r}; it was not written by spatialprop")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        raise InputError(f"the metadata under {KEY!r} are not JSON") from None
    if not isinstance(header, dict) or type(header.get("format")) is not int:
        raise InputError(f"the metadata under {KEY!r} must be an object with a whole number `format`")
    if header["format"] not in (1, FORMAT):
        raise InputError(f"it is of format {header['format']}, this version reads 1 to {FORMAT}; update spatialprop")
    if "network" not in header:
        raise InputError("the header lacks `network`")
    return header


def check(settings: Mapping[str, Any], rules: Rules, where: str) -> None:
    """Refuse settings that are missing, unknown or out of bounds."""
    for name in sorted(settings.keys() ^ rules.keys(), key=str):
        problem = "is missing" if name in rules else "is not known"
        raise InputError(f"{where}.{name} {problem}; the settings are {', '.join(rules)}")
    for name, rule in rules.items():
        if not rule.allows(settings[name]):
            raise InputError(f"{where}.{name} must be {rule.words}; got {short(settings[name])}")


def _check_names(names: list[str], own: Mapping[str, Tensor]) -> None:
    for name in sorted(own.keys() - set(names)):
        raise InputError(f"{name} is missing")
    for name in sorted(set(names) - own.keys()):
        raise InputError(f"{short(name)} is not part of the network that its header names")


def _check_values(state: Mapping[str, Tensor]) -> None:
    for name, tensor in state.items():
        if not math.isfinite(tensor.float().abs().sum().item()):
            raise InputError(f"{name} holds values that are not finite")
        if name.endswith("running_var") and bool((tensor < 0).any()):
            raise InputError(f"{name} holds negative variances")


def short(value: Any) -> str:
    """How a value looks in a message."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
