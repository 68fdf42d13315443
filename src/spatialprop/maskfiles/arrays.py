"""Arrays in .npy and .npz files, read with care for what a header may claim."""

import io
import math
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spatialprop.errors import InputError, reading
from spatialprop.files import write_beside
from spatialprop.maskfiles.pictures import MOST_PIXELS
from spatialprop.memory import refuse_too_much

ARRAY_SUFFIXES = (".npy", ".npz")
MOST_NUMBERS = 1 << 31  # in an array
_LONGEST_HEADER = 10_000  # bytes, as NumPy itself has it
_KEYS = ("probs", "labels")
_CLASSES = "classes"


class StoredArray(NamedTuple):
    """An array as a file holds it."""

    values: NDArray[Any]
    key: str | None = None  # its name in an .npz
    classes: NDArray[np.uint16] | None = None  # the label of each map of probabilities, where the file says so


def read_array(path: Path, most_pixels: int = MOST_PIXELS) -> StoredArray:
    """Read the only array of a file, or that called `probs` or `labels`."""
    with reading(path, "an array", "write it again"):
        if path.suffix.lower() == ".npz":
            with zipfile.ZipFile(path) as archive:
                key = _key_of(archive)
                values = _member(archive, key, most_pixels)
                classes = None
                if key == "probs" and values.ndim == 3 and f"{_CLASSES}.npy" in archive.namelist():
                    classes = _read_classes(archive, len(values), most_pixels)
                named = re.fullmatch(r"\w[\w.-]{0,63}", key)  # what else it may be called is not for our results
                return StoredArray(values, key if named else None, classes)
        return StoredArray(_read_alone(path, most_pixels))


def read_probabilities(path: Path) -> NDArray[Any]:
    """Read the array of an .npy, or that called `probs` of an .npz, as it is stored."""
    with reading(path, "a coarse map", "write it again"):
        if path.suffix.lower() != ".npz":
            return _read_alone(path, MOST_PIXELS)
        with zipfile.ZipFile(path) as archive:
            if "probs.npy" not in archive.namelist():
                raise InputError("it has no array `probs`; save it with np.savez_compressed(path, probs=...)")
            return _member(archive, "probs", MOST_PIXELS)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays under their names, or the first one alone where the file is an .npy; whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_beside(path) as file:
        if path.suffix.lower() == ".npy":
            np.save(file, next(iter(arrays.values())))
            return
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:  # numpy.savez refuses some names
            for name, values in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, values, allow_pickle=False)


def _key_of(archive: zipfile.ZipFile) -> str:
    names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    for key in _KEYS:
        if key in names:
            return key
    if len(names) != 1:
        raise InputError(f"it holds the arrays {', '.join(names[:8]) or 'none'}; call one of them `probs` or `labels`")
    return names[0]


def _read_classes(archive: zipfile.ZipFile, count: int, most_pixels: int) -> NDArray[np.uint16]:
    try:
        classes = _member(archive, _CLASSES, most_pixels)
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


def _read_alone(path: Path, most_pixels: int) -> NDArray[Any]:
    with path.open("rb") as file:
        return _read_npy(file, most_pixels, os.fstat(file.fileno()).st_size)


def _member(archive: zipfile.ZipFile, name: str, most_pixels: int) -> NDArray[Any]:
    with archive.open(f"{name}.npy") as file:
        return _read_npy(file, most_pixels)


def _header(file: IO[bytes], version: tuple[int, int]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type of an array; NumPy would read a header of any length before it looks at it."""
    length = file.read(2 if version == (1, 0) else 4)
    if int.from_bytes(length, "little") > _LONGEST_HEADER:
        raise InputError(f"its header claims {int.from_bytes(length, 'little')} bytes; save it again with numpy.save")
    header = io.BytesIO(length + file.read(int.from_bytes(length, "little")))
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    found: tuple[tuple[int, ...], bool, np.dtype[Any]] = read(header)
    return found


def _read_npy(file: IO[bytes], most_pixels: int, size: int | None = None) -> NDArray[Any]:
    """Read an array; its header is checked before memory is taken for what it claims."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise InputError(f"it is an .npy file of version {version}; save it again with numpy.save")
    shape, by_column, dtype = _header(file, version)
    count = math.prod(shape)
    wanted = count * dtype.itemsize
    if dtype.hasobject or dtype.kind not in "buif" or dtype.itemsize > 8:
        raise InputError(f"it holds {dtype}; store numbers: probabilities as floats or uint8 x 255, labels as integers")
    if count > MOST_NUMBERS or wanted > MOST_NUMBERS * 4:
        raise InputError(f"its shape {shape} is {count} numbers; at most {MOST_NUMBERS} are read")
    if math.prod(shape[-2:]) > most_pixels:
        raise InputError(
            f"its shape {shape} has more than {most_pixels} pixels; if that is no attack, raise the limit "
            f"(--most-pixels)"
        )
    if size is not None and size - file.tell() < wanted:
        raise InputError(f"its shape {shape} needs {wanted} bytes, {size - file.tell()} are left")
    refuse_too_much(
        wanted + 8 * count, f"its shape {shape}", "store it at a lower resolution, or fewer classes in one file"
    )
    data = bytearray()
    while len(data) < wanted:  # in steps: a compressed file may end long before it has what it claims
        step = file.read(min(wanted - len(data), 1 << 24))
        if not step:
            raise InputError(f"its shape {shape} needs {wanted} bytes, it ends after {len(data)}")
        data += step
    flat = np.frombuffer(data, dtype=dtype)
    return flat.reshape(shape, order="F" if by_column else "C")
