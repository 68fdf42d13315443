"""Archives, weights and descriptions of data sets, damaged and hostile."""

import io
import json
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import torch

from spatialprop.data import read_label_set
from spatialprop.data.tools import unpack
from spatialprop.nn.published import read_state
from spatialprop.refiner import Refiner, save_refiner
from tests.attack.judge import CANARY, Try
from tests.attack.mutation import changed, damaged
from tests.nn.published.caffemodels import caffemodel
from tests.refiner.networks import trained

NAMES = (
    "a.txt",
    "../owned",
    "/owned",
    "a/../../owned",
    "a\\..\\owned",
    "C:owned",
    "x" * 300,
    "",
    ".",
    "..",
    "a/b/c",
    "a\x00b",
)
TYPES = (tarfile.REGTYPE,) * 6 + (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)
LABELS = {"name": "x", "classes": ["a", "b", "c"], "ignore_index": 255, "scored_classes": [0, 1], "mirrored": [[0, 1]]}


def tar(rng: Random) -> bytes:
    stored = io.BytesIO()
    with tarfile.open(fileobj=stored, mode=rng.choice(("w", "w:gz", "w:bz2", "w:xz"))) as archive:
        for _ in range(rng.randint(0, 4)):
            info, content = tarfile.TarInfo(rng.choice(NAMES)), rng.randbytes(rng.choice((0, 10, 3000)))
            info.type = rng.choice(TYPES)
            info.linkname = rng.choice(("a.txt", "/etc/passwd", f"../{CANARY}"))
            info.size = len(content) if info.isfile() else 0
            archive.addfile(info, io.BytesIO(content))
    return stored.getvalue()


@cache
def weights() -> bytes:
    path = Path("w.safetensors")
    save_refiner(trained(), path)
    return path.read_bytes()


def safetensors(rng: Random) -> bytes:
    """A refiner's weights whose header is changed, or whose bytes are."""
    whole = weights()
    if rng.random() < 0.5:
        return damaged(rng, whole)
    size = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + size])
    if rng.random() < 0.7:
        key = next(iter(header["__metadata__"]))
        header["__metadata__"][key] = json.dumps(changed(rng, json.loads(header["__metadata__"][key])))
    else:
        header = changed(rng, header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + whole[8 + size :]


@cache
def stored(suffix: str) -> bytes:
    if suffix == ".caffemodel":
        return caffemodel([("conv", "Convolution", [torch.ones(2, 3, 1, 1), torch.ones(2)])])
    path = Path(f"x{suffix}")
    torch.save({"state_dict": {"a.weight": torch.ones(3, 4), "b": torch.zeros(5)}}, path)
    return path.read_bytes()


def tries(rng: Random) -> Iterator[Try]:
    """Endless."""
    number = 0
    while True:
        number += 1
        kind = rng.random()
        if kind < 0.35:
            content = tar(rng)
            content = damaged(rng, content) if rng.random() < 0.5 else content
            yield Try(f"unpack {number}", lambda c=content: unpack(_written("a.tar", c), Path("to")))
        elif kind < 0.6:
            yield Try(f"Refiner.load {number}", lambda r=Random(rng.random()): _load(r))
        elif kind < 0.8:
            suffix = rng.choice((".pth", ".ckpt", ".caffemodel"))
            yield Try(f"read_state {suffix} {number}", lambda s=suffix, r=Random(rng.random()): _state(r, s))
        else:
            text = json.dumps(changed(rng, LABELS)).encode()
            text = damaged(rng, text) if rng.random() < 0.3 else text
            yield Try(f"read_label_set {number}", lambda c=text: read_label_set(_written("dataset.json", c)))


def _written(name: str, content: bytes) -> Path:
    Path(name).write_bytes(content)
    return Path(name)


def _load(rng: Random) -> None:
    refiner = Refiner.load(_written("w.safetensors", safetensors(rng)))
    assert np.isfinite(refiner.probabilities(np.zeros((16, 16, 3), np.uint8), np.eye(16, dtype=np.uint8))).all()


def _state(rng: Random, suffix: str) -> None:
    read_state(_written(f"y{suffix}", damaged(rng, stored(suffix))))
