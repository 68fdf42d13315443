"""Coarse maps in .npy and .npz files."""

import math
import os
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from spatialprop.refiner.coarse_file import CoarseFile
from spatialprop.refiner.inputs import InputError

ARRAY_SUFFIXES = (".npy", ".npz")
MOST_NUMBERS = 1 << 31  # in an array
_KEYS = ("probs", "labels")


def read_array(path: Path, kind: str, most_pixels: int) -> CoarseFile:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    key = "probs"
    try:
        if path.suffix.lower() == ".npz":
            with zipfile.ZipFile(path) as archive:
                key = _key_of(archive)
                with archive.open(f"{key}.npy") as file:
                    values = _read_npy(file, most_pixels)
        else:
            with path.open("rb") as file:
                values = _read_npy(file, most_pixels, os.fstat(file.fileno()).st_size)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except MemoryError:
        raise
    except Exception as error:  # zip files can be broken in many ways
        raise InputError(
            f"{path} cannot be read as an array: {error or type(error).__name__}; write it again"
        ) from None
    dtype = values.dtype
    if values.ndim == 2 and dtype.kind == "f":
        return CoarseFile(np.stack([1 - values, values]), "alpha", dtype=dtype, key=key)  # that of the object alone
    if values.ndim == 3 and values.shape[0] == 1 and (dtype.kind == "f" or dtype == np.uint8):
        share = values[0] / np.float32(1 if dtype.kind == "f" else 255)
        return CoarseFile(np.stack([1 - share, share]), "alpha", dtype=dtype, key=key, single=True)
    if values.ndim == 2 and dtype.kind in "bui":
        if kind != "labels" and dtype == np.uint8 and set(np.unique(values).tolist()) == {0, 255}:
            return CoarseFile(values // 255, "mask", np.array([0, 255], np.uint8), dtype=dtype, key=key)
        return CoarseFile(values, "labels", dtype=dtype, key=key)
    if values.ndim == 3:
        return CoarseFile(values, "probabilities", dtype=dtype, key=key)
    raise InputError(f"{path} holds an array of shape {values.shape}; a coarse map is (K, h, w), or (H, W) of labels")


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
    if dtype.hasobject or dtype.kind not in "buif":
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
