"""Peak memory of refining an image, a pixel: python benchmarks/refiner_memory.py [--sides 1000 2000 3000] [--weights W]

Each case runs in a process of its own, after a small image that compiles the kernels and fills PyTorch's caches; the
peak that is counted comes on top of that. The refiner refuses an image that needs more than is left by an estimate of
its own: what is printed as `estimate` must not be below what is measured, or a machine can run out of memory.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys

import numpy as np

from spatialprop import Refiner

CASES = {"two classes": (2, "labels"), "twenty classes": (20, "labels"), "two classes, probabilities": (2, "shares")}
_WARM = 256  # pixels a side


def inputs(side: int, classes: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """An image of noise and a map of blocks, with labels or shares an eighth of its size."""
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (side, side, 3), np.uint8)
    if kind == "labels":
        return image, (np.add.outer(np.arange(side) // 100, np.arange(side) // 77) % classes).astype(np.uint8)
    shares = random.random((classes, -(-side // 8), -(-side // 8)), np.float32)
    return image, shares / shares.sum(axis=0)


def measure(side: int, classes: int, kind: str, weights: str) -> float:
    """Bytes a pixel that a refinement adds to the peak of this process."""
    refiner = Refiner.load(weights)
    refiner(*inputs(_WARM, classes, kind))
    given = inputs(side, classes, kind)
    before = _peak()
    refiner(*given)
    return (_peak() - before) / side**2


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sides", type=int, nargs="+", default=[1000, 2000, 3000])
    parser.add_argument("--weights", default="light")
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        side, classes, kind = options.case
        print(measure(int(side), int(classes), kind, options.weights))
        return
    found = {}
    for name, (classes, kind) in CASES.items():
        for side in options.sides:
            case = ["--case", str(side), str(classes), kind, "--weights", options.weights]
            done = subprocess.run([sys.executable, __file__, *case], check=True, stdout=subprocess.PIPE, text=True)
            found[f"{name}, {side} x {side}"] = round(float(done.stdout))
    from spatialprop.refiner import opened

    print(
        json.dumps(
            {
                "bytes_a_pixel": found,
                "estimate": getattr(opened, "_BYTES", None),
                "weights": options.weights,
                "machine": platform.machine(),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
