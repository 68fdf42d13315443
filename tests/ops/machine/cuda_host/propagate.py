"""Plans of cuda.py on a host. Run as a program it judges a library, perhaps one built from a mutant."""

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from spatialprop.ops.contract import DIRECTIONS
from spatialprop.ops.machine.cuda_launch import Gpu, layout_of
from spatialprop.ops.propagation import cuda
from tests.ops.machine.cuda_host.host import ASCENDING, CAUGHT, ORDERS, SURVIVES, Host, agree, guarded_memory

# Many planes for few processors, or few for many; tiles as on a large GPU, or so small that every map has many.
FUSED = Gpu(0, 227 << 10, 228 << 10)
SPLIT = Gpu(10_000, 227 << 10, 228 << 10)
SMALL_FUSED = Gpu(0, 6_000, 18_000)
SMALL_SPLIT = Gpu(10_000, 6_000, 18_000)
GPUS = {"fused": FUSED, "split": SPLIT, "fused_small": SMALL_FUSED, "split_small": SMALL_SPLIT}


class Propagate:
    """The CUDA backend of `propagate`, on a host: a library for each width of pieces."""

    def __init__(self, build: Callable[[int], Host], normalize: str | None = None) -> None:
        self.build, self.normalize = cache(build), normalize

    def forward(self, x, gates, directions, merge, keep_winner, gpu, order=ASCENDING) -> tuple[Tensor, Tensor]:
        codes = tuple(DIRECTIONS.index(name) for name in directions)
        plan = cuda.plan_forward(layout_of(x), layout_of(gates), codes, merge, keep_winner, self.normalize, gpu)
        return self._run(plan, order, x, gates)

    def backward(
        self, grad, x, gates, winner, directions, merge, gpu, order=ASCENDING, need_x=True, need_gates=True
    ) -> tuple[Tensor, Tensor]:
        codes = tuple(DIRECTIONS.index(name) for name in directions)
        layouts = (layout_of(grad), layout_of(x), layout_of(gates))
        plan = cuda.plan_backward(*layouts, codes, merge, self.normalize, need_x, need_gates, gpu)
        return self._run(plan, order, grad, x, gates, winner)

    def _run(self, plan, order, *inputs) -> tuple[Tensor, Tensor]:
        (piece,) = (int(option.removeprefix("-DPIECE=")) for option in plan.options if option.startswith("-DPIECE="))
        with guarded_memory():
            return self.build(piece).run(plan, order, *inputs)

    def results(self, x, gates, directions, merge, grad, gpu, order=ASCENDING) -> list[Tensor]:
        """The map, the gradient of x and that of the gates."""
        out, winner = self.forward(x, gates, directions, merge, merge == "max", gpu, order)
        return [out, *self.backward(grad, x, gates, winner, directions, merge, gpu, order)]


def survives(library: Path, cases: Path, normalize: str | None = None) -> bool:
    """Whether a library agrees with the expected results in every case, in every order of threads and blocks."""
    host = Host(library)
    operator = Propagate(lambda _: host, normalize)
    for x, gates, merge, grad, gpu, expected in torch.load(cases, weights_only=True):
        for order in ORDERS:
            try:
                results = operator.results(x, gates, DIRECTIONS, merge, grad, GPUS[gpu], order)
            except AssertionError:
                return False
            if not agree(results, expected):
                return False
    return True


if __name__ == "__main__":
    sys.exit(SURVIVES if survives(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]) else CAUGHT)
