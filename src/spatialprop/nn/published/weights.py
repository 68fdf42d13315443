"""Loading of published weights from a file or an address, under the names that they were published with."""

import os
import pickle
import urllib.parse
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from spatialprop.download import Checksum, fetch
from spatialprop.nn.published.caffemodel import read_caffemodel

KeyMap = Mapping[str, str | None]
"""The names in a file to the names in the module; None for a tensor that the module does without."""


def load_weights(
    module: nn.Module,
    source: str | os.PathLike[str],
    key_map: KeyMap | Sequence[KeyMap] | None = None,
    sha256: str | None = None,
) -> KeyMap | None:
    """Copy the tensors of a file into `module`, all of them or, if anything does not fit, none.

    Args:
        module: The module to fill. Parameters that the key map does not name keep their values.
        source: A .safetensors file, one that `torch.save` wrote (only tensors are read from it, no code is run), a
            .caffemodel, or an http(s) address of such a file, downloaded once into the folder of `torch.hub`.
        key_map: The file's names to the module's; None if they are the same. Of several the one is taken that shares
            most names with the file; the module's own names are then among them.
        sha256: The hash that the file must have. An address needs it, here or at its end as `#sha256=...`.

    Returns:
        The key map that was used.

    Example:
        >>> import tempfile, torch
        >>> layer = torch.nn.Linear(2, 1)
        >>> with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        ...     torch.save({"fc.weight": torch.ones(1, 2), "fc.bias": torch.zeros(1)}, file.name)
        ...     used = load_weights(layer, file.name, {"fc.weight": "weight", "fc.bias": "bias"})
        >>> layer(torch.tensor([2.0, 3.0])).item()
        5.0
    """
    path = _local(source, sha256)
    state = read_state(path)
    if key_map is not None and not isinstance(key_map, Mapping):
        key_map = _closest(state, [None, *key_map], module)
    try:
        load_state(module, state, key_map)
    except ValueError as error:
        raise ValueError(f"{path} does not fit {type(module).__name__}: {error}") from None
    return key_map


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors, .pth, .pt, .ckpt or .caffemodel file by name."""
    state = read_weights(path)
    for wrapper in ("state_dict", "model_state_dict"):  # the wrappers of training scripts
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ValueError(f"{path} holds no state dict; save module.state_dict() with torch.save or as .safetensors")
    return dict(state)


def read_weights(path: Path) -> Any:
    """Whatever a file of weights holds, read without running any of its code; every error names the file."""
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix == ".caffemodel":
            return read_caffemodel(path)
        _refuse_compressed(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that torch.save did not write; what follows is an error
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # whose text advises to run the file's code
        reason = "it is damaged, or holds more than tensors and is not opened, because that would run its code"
        raise ValueError(f"cannot read weights from {path}: {reason}; save the state dict alone") from None
    except Exception as error:  # each format has its own error for a truncated file
        reason = str(error).split("\n", 1)[0] or type(error).__name__
        raise ValueError(f"cannot read weights from {path}, is it truncated? {reason}") from None


def _refuse_compressed(path: Path) -> None:
    """`torch.save` compresses nothing; what unpacks to a thousand times its size is made to fill the memory."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ValueError("it is compressed, as torch.save never does")


def load_state(module: nn.Module, state: Mapping[str, Tensor], key_map: KeyMap | None = None) -> None:
    """Copy `state` into `module` under the names of `key_map`, or name all that does not fit and copy nothing.

    The matrix of a linear layer fills a convolution that computes the same. Batch norm's counter may be missing: older
    files lack it, and it is not used here.
    """
    own = module.state_dict()
    key_map = {name: name for name in own} if key_map is None else key_map
    used = {name: target for name, target in key_map.items() if target is not None}
    mismatched = []
    pairs = []
    for name, target in used.items():
        if name in state and target in own:
            tensor, place = state[name], own[target]
            if tensor.dim() == 2 and place.dim() == 4 and tensor[0].numel() == place[0].numel():
                tensor = tensor.reshape(-1, *place.shape[1:])
            if tensor.shape != place.shape:
                mismatched.append(f"{name} is {tuple(tensor.shape)}, {target} needs {tuple(place.shape)}")
            pairs.append((place, tensor))
    complaints = {
        "missing": [name for name in used if name not in state and not name.endswith("num_batches_tracked")],
        "unexpected": [name for name in state if name not in key_map],
        "of another shape": mismatched,
        "unknown to the module": [target for target in used.values() if target not in own],
    }
    if any(complaints.values()):
        raise ValueError("; ".join(f"{kind}: {_some(names)}" for kind, names in complaints.items() if names))
    with torch.no_grad():
        for place, tensor in pairs:
            place.copy_(tensor)


def _closest(state: Mapping[str, Tensor], key_maps: Sequence[KeyMap | None], module: nn.Module) -> KeyMap | None:
    def overlap(key_map: KeyMap | None) -> float:
        names = set(module.state_dict() if key_map is None else key_map)
        return len(names & state.keys()) / len(names | state.keys())

    return max(key_maps, key=overlap)


def _some(names: Sequence[str], limit: int = 8) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _local(source: str | os.PathLike[str], sha256: str | None) -> Path:
    """The file that `source` names, downloaded if it is an address, with the hash that it must have."""
    text = os.fspath(source)
    address, _, fragment = text.partition("#sha256=")
    sha256 = (sha256 or fragment).lower() or None
    if sha256 is not None and (len(sha256) != 64 or set(sha256) - set("0123456789abcdef")):
        raise ValueError(f"sha256 must be 64 hexadecimal digits; got {sha256!r}")
    scheme, separator, _ = address.partition("://")
    if not separator:
        path = Path(address).expanduser()
        if sha256 is not None and path.is_file():
            found = Checksum("sha256", sha256).found_in(path)
            if found != sha256:
                raise ValueError(f"{path} is not the file that was asked for: SHA-256 {found}, not {sha256}")
        return path
    if scheme not in ("http", "https"):
        raise ValueError(f"weights come from a file or an http(s) address; got {text}")
    if sha256 is None:
        raise ValueError(f"give the SHA-256 of {address}: sha256='...', or '#sha256=...' at the end of the address")
    return download(address, sha256)


def download(address: str, sha256: str) -> Path:
    """Download `address` into the cache unless it is there, resuming an interrupted download."""
    name = Path(urllib.parse.urlparse(address).path).name
    target = Path(torch.hub.get_dir()) / "spatialprop" / f"{sha256[:8]}-{name}"
    return fetch(address, target, Checksum("sha256", sha256))
