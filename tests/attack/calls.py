"""The Python interface: arrays and tensors of every type, layout and value."""

from collections.abc import Iterator
from functools import cache
from random import Random

import numpy as np
import torch
from PIL import Image

from spatialprop import Refiner, normalize_gates, propagate
from spatialprop.ops import spread
from tests.attack.judge import Try

NUMPY = (
    "uint8",
    "int8",
    "uint16",
    "int32",
    "int64",
    "uint64",
    "bool",
    "float16",
    "float32",
    "float64",
    "complex64",
    "O",
    "U3",
    ">f4",
    ">i2",
    "longdouble",
)
TORCH = (
    torch.uint8,
    torch.int8,
    torch.uint16,
    torch.int32,
    torch.int64,
    torch.uint32,
    torch.uint64,
    torch.bool,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.float8_e4m3fn,
)
SHAPES = (
    (24, 32),
    (24, 32, 3),
    (3, 24, 32),
    (2, 24, 32),
    (2, 3, 4),
    (1, 24, 32),
    (0, 32),
    (24, 32, 4),
    (1, 3, 24, 32),
    (1, 2, 6, 8),
    (),
    (5,),
    (1, 1),
    (32, 24),
    (300, 2, 2),
)
SPECIAL = (float("nan"), float("inf"), -float("inf"), -1.0, 1e30, 2.0, 255.0, 65536.0, 1e-45)


@cache
def refiner() -> Refiner:
    return Refiner.load("light")


def fitting(rng: Random):
    """A coarse map as somebody would give it, but for a value here and there."""
    numbers = np.random.default_rng(rng.randrange(1 << 30))
    if rng.random() < 0.5:
        found = numbers.integers(0, rng.choice((1, 2, 5, 300)), (24, 32)).astype(
            rng.choice(("uint8", "int64", "uint64"))
        )
    else:
        found = numbers.random(rng.choice(((2, 24, 32), (3, 6, 8), (5, 24, 32)))).astype(rng.choice(("float32", ">f8")))
        found = found / found.sum(axis=0)
    if rng.random() < 0.2:
        with np.errstate(all="ignore"):
            found.flat[rng.randrange(found.size)] = np.array(rng.choice(SPECIAL)).astype(found.dtype)
    return found if rng.random() < 0.6 else torch.as_tensor(found.astype(found.dtype.newbyteorder("=")))


def values(rng: Random, shape=None):
    """An array or a tensor."""
    shape = rng.choice(SHAPES) if shape is None else shape
    plain = np.random.default_rng(rng.randrange(1 << 30)).random(shape) * rng.choice((1, 1, 2, 5, 255))
    plain = np.asarray(plain)  # a number, where the shape is ()
    if rng.random() < 0.3 and plain.size:
        plain.flat[rng.randrange(plain.size)] = rng.choice(SPECIAL)
    with np.errstate(all="ignore"):
        if rng.random() < 0.3 and plain.ndim > 2:
            plain = plain / plain.sum(axis=0)
        if rng.random() < 0.5:
            found = np.asarray(np.asarray(plain).astype(rng.choice(NUMPY)))
            return found[::-1] if rng.random() < 0.2 and found.ndim else found
    found = torch.as_tensor(plain).to(torch.float32).to(rng.choice(TORCH))
    kind = rng.random()
    if kind < 0.05:
        return found.to_sparse() if found.dtype == torch.float32 and found.dim() else found
    if kind < 0.1:
        return found.to("meta")
    if kind < 0.2 and found.is_floating_point() and found.dtype != torch.float8_e4m3fn:
        return found.requires_grad_()
    return found.mT if kind < 0.3 and found.dim() > 1 else found


def image(rng: Random):
    kind = rng.random()
    pixels = np.random.default_rng(rng.randrange(1 << 30)).integers(0, 256, (24, 32, 3), np.uint8)
    if kind < 0.5:
        return pixels
    if kind < 0.6:
        return Image.fromarray(pixels).convert(rng.choice(("RGB", "L", "P", "CMYK", "RGBA", "1", "F", "I")))
    return values(rng) if kind < 0.95 else rng.choice((None, "photo.jpg", 3, [[1]], b"x"))


def tries(rng: Random) -> Iterator[Try]:
    """Endless."""
    number = 0
    while True:
        number += 1
        kind = rng.random()
        if kind < 0.6:
            shown, coarse = image(rng), fitting(rng) if rng.random() < 0.6 else values(rng)
            name = rng.choice(("__call__", "probabilities", "open", "affinity"))
            options = {} if name == "affinity" else _options(rng)
            pixel = rng.choice(((3, 4), (-1, 0), (24, 32), (1.5, 2), "ab", None, (1, 2, 3), (True, 0)))
            yield Try(
                f"refiner.{name} {number}", lambda s=shown, c=coarse, n=name, o=options, p=pixel: _ask(s, c, n, o, p)
            )
        elif kind < 0.85:
            shape = rng.choice(((1, 2, 5, 6), (2, 4, 1, 7), (1, 1, 1, 1), (0, 1, 2, 2), (2, 5, 6)))
            x = values(rng, shape)
            if rng.random() < 0.6:  # of one type
                kind = rng.choice((torch.float32, torch.bfloat16, torch.float64))
                x, gates = (
                    torch.rand(1, 2, 5, 6).to(kind),
                    torch.rand(1, 4, 3, rng.choice((1, 2)), 5, 6).div(3).to(kind),
                )
                x.flatten()[rng.randrange(60)] = rng.choice((1.0, *SPECIAL))
                yield Try(f"propagate {number}", lambda x=x, g=gates: _propagate(x, g, {}))
                continue
            gates = values(
                rng, rng.choice(((1, 4, 3, 1, 5, 6), (1, 4, 1, 2, 5, 6), (2, 4, 3, 4, 1, 7), (1, 2, 3, 1, 1, 1), (1,)))
            )
            options = rng.choice(
                (
                    {},
                    {"merge": "none"},
                    {"merge": "x"},
                    {"backend": "naive"},
                    {"backend": "cuda"},
                    {"directions": ()},
                    {"directions": ("left", "left")},
                    {"normalize": "clamp"},
                    {"normalize": "tanh"},
                )
            )
            yield Try(f"propagate {number}", lambda x=x, g=gates, o=options: _propagate(x, g, o))
        else:
            x, near = values(rng, (1, 2, 5, 6)), values(rng, rng.choice(((1, 8, 5, 6), (1, 16, 5, 6), (1, 8, 6, 5))))
            dilations = rng.choice(([1], [1, 2], [0], [-1], [1 << 40], [], "a", [1.5]))
            steps = rng.choice((1, 0, -1, 3, 1.5))
            yield Try(f"spread {number}", lambda x=x, n=near, d=dilations, s=steps: spread(x, n, d, steps=s))


def _options(rng: Random) -> dict:
    found = {}
    if rng.random() < 0.3:
        found["rough"] = rng.choice((None, 1, 16, 0, -1, float("nan"), float("inf"), 1e30, "x", True))
    if rng.random() < 0.3:
        found["classes"] = rng.choice((None, 1, 2, 5, 300, 0, -1, 1 << 40))
    if rng.random() < 0.3:
        found["restrict"] = False
    return found


def _ask(shown, coarse, name, options, pixel):
    if name == "affinity":
        result = refiner().affinity(shown, coarse, pixel)
    else:
        result = getattr(refiner(), name)(shown, coarse, **options)
    if name == "open":
        labels, shares = result.labels, result.probabilities
        assert tuple(shares.shape[-2:]) == tuple(labels.shape[-2:])
        result.mend(coarse)
        result = shares
    assert bool(torch.isfinite(torch.as_tensor(np.asarray(result).astype(np.float64))).all()), "not finite"


def _propagate(x, gates, options):
    propagate(x, gates, **options)
    if isinstance(gates, torch.Tensor):
        normalize_gates(gates, "stochastic")
