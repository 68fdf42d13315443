"""Tiny .caffemodel files, written field by field as caffe.proto numbers them."""

import numpy as np
from torch import Tensor

OLD_KINDS = {"Convolution": 4, "InnerProduct": 14, "Deconvolution": 39}


def caffemodel(layers: list[tuple[str, str, list[Tensor]]], *, old: bool = False) -> bytes:
    """Layers of (name, kind, blobs) as Caffe writes them, or as it did before 2015."""
    written = [field(1, b"net"), field(3 if not old else 5, b"data")]
    for name, kind, blobs in layers:
        if old:
            parts = [varint(5 << 3) + varint(OLD_KINDS[kind]), field(4, name.encode())]
            parts += [field(6, old_blob(blob)) for blob in blobs]
        else:
            parts = [field(1, name.encode()), field(2, kind.encode()), field(6, b"\x1d\x00\x00\x80\x3f")]  # lr_mult
            parts += [field(7, blob_of(blob)) for blob in blobs]
        written.append(field(2 if old else 100, b"".join(parts)))
    return b"".join(written)


def layers_of(state: dict[str, Tensor]) -> list[tuple[str, str, list[Tensor]]]:
    """The layers that hold a state dict under Caffe's names: batch norm gets its sums and what to divide them by."""
    layers: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        name, _, part = key.rpartition(".")
        layers.setdefault(name, {})[part] = tensor
    written = []
    for name, parts in layers.items():
        if "running_mean" in parts:
            count = parts["running_mean"].new_tensor([4.0])
            blobs = [parts["running_mean"] * count, parts["running_var"] * count, count]
            written.append((name, "BatchNorm", blobs))
        else:
            kind = "Scale" if parts["weight"].dim() == 1 else "Convolution"
            written.append((name, kind, [parts[part] for part in ("weight", "bias") if part in parts]))
    return written


def blob_of(tensor: Tensor) -> bytes:
    shape = field(1, b"".join(varint(size) for size in tensor.shape))
    return field(5, floats(tensor)) + field(7, shape)


def old_blob(tensor: Tensor) -> bytes:
    """Four dimensions always, ones in front."""
    sizes = (1,) * (4 - tensor.dim()) + tuple(tensor.shape)
    dimensions = b"".join(varint(number << 3) + varint(size) for number, size in enumerate(sizes, start=1))
    return dimensions + field(5, floats(tensor))


def floats(tensor: Tensor) -> bytes:
    return np.asarray(tensor, "<f4").tobytes()


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    written = bytearray()
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    return bytes([*written, value])
