"""The parameters in a .caffemodel, read without Caffe: a parser of the few protocol buffer fields that hold them."""

from collections import defaultdict
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Numbers of the fields in caffe.proto.
_LAYERS = {100: {"name": 1, "type": 2, "blobs": 7}, 2: {"name": 4, "type": 5, "blobs": 6}}  # now, and before 2015
_SHAPE, _FLOATS, _DOUBLES, _OLD_SHAPE = 7, 5, 8, (1, 2, 3, 4)
_INNER_PRODUCT = ("InnerProduct", "14")  # a matrix, which old files give four dimensions
# DeepLab's branches for smaller images, which repeat the parameters of the first.
_REPEATED = ("res075", "res05")


def read_caffemodel(path: Path) -> dict[str, Tensor]:
    """The parameters by `<layer>.weight` and `<layer>.bias`, as PyTorch would name and shape them.

    Of a BatchNorm layer they are `running_mean` and `running_var`; its factor is a `Scale` layer of its own.
    """
    state: dict[str, Tensor] = {}
    for number, layer in _fields(memoryview(path.read_bytes())):
        if number not in _LAYERS or isinstance(layer, int):
            continue
        place = _LAYERS[number]
        fields = _by_number(layer)
        name, kind = ("".join(map(_text, fields[place[what]])) for what in ("name", "type"))
        blobs = [_blob(blob) for blob in fields[place["blobs"]]]
        if blobs and not any(branch in name for branch in _REPEATED):
            state |= {f"{name}.{part}": tensor for part, tensor in _parts(kind, blobs).items()}
    if not state:
        raise ValueError("no layer in it has parameters")
    return state


def _parts(kind: str, blobs: list[Tensor]) -> dict[str, Tensor]:
    if kind == "BatchNorm":
        mean, variance, count = blobs  # sums, and the number of terms
        scale = 0.0 if count.item() == 0 else 1 / count.item()
        return {"running_mean": mean.flatten() * scale, "running_var": variance.flatten() * scale}
    parts = dict(zip(("weight", "bias")[: len(blobs)], blobs, strict=True))
    if kind in _INNER_PRODUCT:
        parts["weight"] = parts["weight"].reshape(parts["weight"].shape[-2:])
    elif kind == "Scale":
        parts["weight"] = parts["weight"].flatten()
    return parts if len(parts) == 1 else parts | {"bias": parts["bias"].flatten()}


def _blob(blob: memoryview) -> Tensor:
    fields = _by_number(blob)
    if fields[_SHAPE]:
        shape = [size for packed in _by_number(fields[_SHAPE][0])[1] for size in _numbers(packed)]
    else:
        shape = [int(fields[number][0]) if fields[number] else 0 for number in _OLD_SHAPE]
    number, kind = (_DOUBLES, "<f8") if fields[_DOUBLES] else (_FLOATS, "<f4")
    values = np.frombuffer(b"".join(fields[number]), kind)
    if len(values) != prod(shape):
        raise ValueError(f"a parameter of shape {tuple(shape)} has {len(values)} values")
    return torch.from_numpy(values.astype(np.float32)).reshape(shape)


def _by_number(message: memoryview) -> dict[int, list[Any]]:
    fields = defaultdict(list)
    for number, value in _fields(message):
        fields[number].append(value)
    return fields


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a message: integers as such, everything else as its bytes."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, place = _varint(message, place)
            yield number, value
            continue
        if wire == 2:
            length, place = _varint(message, place)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"it is no .caffemodel: a field has the unknown type {wire}")
        if place + length > len(message):
            raise ValueError(f"it ends {place + length - len(message)} bytes too early")
        yield number, message[place : place + length]
        place += length


def _numbers(packed: int | memoryview) -> Iterator[int]:
    if isinstance(packed, int):
        yield packed
        return
    place = 0
    while place < len(packed):
        value, place = _varint(packed, place)
        yield value


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while True:
        if place == len(message):
            raise ValueError("it ends within a number")
        byte = message[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place


def _text(value: int | memoryview) -> str:
    return str(value) if isinstance(value, int) else bytes(value).decode()
