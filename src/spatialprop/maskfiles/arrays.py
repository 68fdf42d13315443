"""Coarse maps in .npy and .npz files."""

import math
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from spatialprop.files import write_beside
from spatialprop.maskfiles.coarse_file import CoarseFile, are_classes, two_levels
from spatialprop.refiner.inputs import InputError

ARRAY_SUFFIXES = (".npy", ".npz")
MOST_NUMBERS = 1 << 31  # in an array
_KEYS = ("probs", "labels")
_CLASSES = "classes"
_SLACK = 1e-3  # beyond zero and one, as rounding leaves it
_FITS: dict[str, Callable[[np.dtype[Any]], bool]] = {
    "labels": lambda dtype: dtype.kind in "bui",
    "mask": lambda dtype: True,
    "alpha": lambda dtype: dtype.kind == "f" or dtype == np.uint8,
    "colours": lambda dtype: False,
}
_WANTED = {
    "labels": "labels are integers (H, W)",
    "mask": "a mask is (H, W)",
    "alpha": "a soft mask is floats (H, W) from 0 to 1, or uint8 x 255",
    "colours": "colours are read from pictures, such as PNG",
}
_MEANING = {"probabilities": "probabilities (K, h, w)", "alpha": "a soft mask", "mask": "a mask", "labels": "labels"}


def read_array(path: Path, kind: str, most_pixels: int) -> CoarseFile:
    """Read a coarse map from an array; see `formats.read_coarse`."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        if path.suffix.lower() == ".npz":
            with zipfile.ZipFile(path) as archive:
                return _read_archive(archive, kind, most_pixels)
        with path.open("rb") as file:
            values = _read_npy(file, most_pixels, os.fstat(file.fileno()).st_size)
        return _interpret(values, kind)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except MemoryError:
        raise
    except Exception as error:  # zip files can be broken in many ways
        raise InputError(
            f"{path} cannot be read as an array: {error or type(error).__name__}; write it again"
        ) from None


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays under their names, or the first one alone where the file is an .npy; whole or not at all."""
    with write_beside(path) as file:
        if path.suffix.lower() == ".npy":
            np.save(file, next(iter(arrays.values())))
            return
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:  # numpy.savez has names of its own
            for name, values in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, values, allow_pickle=False)


def _read_archive(archive: zipfile.ZipFile, kind: str, most_pixels: int) -> CoarseFile:
    key = _key_of(archive)
    with archive.open(f"{key}.npy") as file:
        values = _read_npy(file, most_pixels)
    if kind == "auto" and key == "probs" and values.ndim == 3 and f"{_CLASSES}.npy" in archive.namelist():
        return _with_classes(values, _read_classes(archive, len(values), most_pixels))
    return replace(_interpret(values, kind), key=key)


def _read_classes(archive: zipfile.ZipFile, count: int, most_pixels: int) -> NDArray[np.uint16]:
    """The label that each of the maps of probabilities belongs to, as `--probabilities` writes it."""
    try:
        with archive.open(f"{_CLASSES}.npy") as file:
            classes = _read_npy(file, most_pixels)
    except InputError as error:
        raise InputError(f"its `{_CLASSES}` cannot be used: {error}") from None
    fits = count > 0 and classes.shape == (count,) and classes.dtype.kind in "ui" and len(np.unique(classes)) == count
    if not fits or classes.min() < 0 or classes.max() > 65535:
        raise InputError(
            f"its `{_CLASSES}` must be {count} distinct integers from 0 to 65535, the label of each map; got "
            f"{classes.dtype} {classes.shape}: {', '.join(map(str, classes.flatten()[:8].tolist()))}; correct them, or "
            f"leave them out if the maps belong to the labels from 0 to {count - 1}"
        )
    return classes.astype(np.uint16)


def _with_classes(values: NDArray[Any], classes: NDArray[np.uint16]) -> CoarseFile:
    dtype = values.dtype
    if len(classes) == 1:  # a map that has one label everywhere: probabilities need another one, which is nowhere
        values = np.concatenate([values, np.zeros_like(values)])
        classes = np.append(classes, np.uint16(classes[0] == 0))
    return CoarseFile(values, "probabilities", dtype=dtype, classes=classes)


def _interpret(values: NDArray[Any], kind: str) -> CoarseFile:
    dtype, shape = values.dtype, values.shape
    if values.ndim not in (2, 3) or 0 in shape:
        raise InputError(f"it holds an array of shape {shape}; a coarse map is (K, h, w), or (H, W) of labels")
    found = _found(values)
    if kind == "auto":
        kind = found
    elif found == "probabilities" or not _FITS[kind](dtype):
        raise InputError(
            f"it holds {dtype} {shape}, {_MEANING[found]}, and not what --kind {kind} says: {_WANTED[kind]}; change "
            f"the array, or leave --kind out"
        )
    if kind == "probabilities":
        return CoarseFile(values, kind, dtype=dtype)
    single = values.ndim == 3
    values = values[0] if single else values
    codes = None
    if kind == "alpha":
        share = values if dtype.kind == "f" else values / np.float32(255)
        if not -_SLACK <= share.min() <= share.max() <= 1 + _SLACK:  # NaN fails too
            raise InputError(
                f"floats {shape} are taken for a soft mask from 0 to 1; got values from {share.min():g} to "
                f"{share.max():g}: store labels as integers, and divide a mask of 0 to 255 by 255"
            )
        share = share.clip(0, 1)
        values = np.stack([1 - share, share])
    elif kind == "mask":
        values, codes = _as_mask(values)
    return CoarseFile(values, kind, codes, dtype=dtype, single=single)


def _found(values: NDArray[Any]) -> str:
    """What an array is taken for by itself."""
    single = values.ndim == 3 and len(values) == 1
    if values.ndim == 3 and not single:
        return "probabilities"
    if values.dtype.kind == "f":
        return "alpha"
    if values.dtype != np.uint8:
        return "labels"
    present = np.unique(values)
    if present.tolist() == [0, 255]:
        return "mask"
    # Bytes as (1, H, W) are what a network with one output writes, or what somebody's labels are kept as.
    return "alpha" if single and not are_classes(values[0], present, 255) else "labels"


def _as_mask(values: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Two levels of an array, which has no number of bits that would say how bright its brightest value is."""
    least, most = values.min().item(), values.max().item()
    limit = 1 if values.dtype.kind == "f" else 65535
    if not 0 <= least <= most <= limit:  # NaN fails too
        raise InputError(f"a mask of {values.dtype} goes from 0 to {limit}; got values from {least:g} to {most:g}")
    return two_levels(values, next(full for full in (1, 255, 65535) if most <= full))


def _key_of(archive: zipfile.ZipFile) -> str:
    names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    for key in _KEYS:
        if key in names:
            return key
    if len(names) != 1:
        raise InputError(f"it holds the arrays {', '.join(names[:8]) or 'none'}; call one of them `probs` or `labels`")
    return names[0]


def _read_npy(file: IO[bytes], most_pixels: int, size: int | None = None) -> NDArray[Any]:
    """Read an array, whose header is looked at before memory is taken for what it claims."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise InputError(f"it is an .npy file of version {version}; save it again with numpy.save")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, turned, dtype = read(file)
    count = math.prod(shape)
    if dtype.hasobject or dtype.kind not in "buif" or dtype.itemsize > 8:
        raise InputError(f"it holds {dtype}; store numbers: probabilities as floats or uint8 x 255, labels as integers")
    if count > MOST_NUMBERS or count * dtype.itemsize > MOST_NUMBERS * 4:
        raise InputError(f"its shape {shape} is {count} numbers; at most {MOST_NUMBERS} are read")
    if math.prod(shape[-2:]) > most_pixels:
        raise InputError(
            f"its shape {shape} has more than {most_pixels} pixels; if that is no attack, raise the limit "
            f"(--most-pixels)"
        )
    if size is not None and size - file.tell() < count * dtype.itemsize:
        raise InputError(f"its shape {shape} needs {count * dtype.itemsize} bytes, {size - file.tell()} are left")
    data = bytearray()
    wanted = count * dtype.itemsize
    while len(data) < wanted:  # in steps: a compressed file may end long before it has what it claims
        step = file.read(min(wanted - len(data), 1 << 24))
        if not step:
            raise InputError(f"its shape {shape} needs {wanted} bytes, it ends after {len(data)}")
        data += step
    flat = np.frombuffer(data, dtype=dtype)
    return flat.reshape(shape, order="F" if turned else "C")
