"""Plans of cuda.py on a host. Run as a program it judges a library, perhaps one built from a mutant."""

import sys
from pathlib import Path

import torch
from torch import Tensor

from spatialprop.ops.contract import DIRECTIONS
from spatialprop.ops.propagation import cuda
from tests.ops.machine.cuda_host.host import ASCENDING, CAUGHT, ORDERS, SURVIVES, Host, agree, guarded_memory

# Many planes for few processors, or few for many; tiles as on a large GPU, or so small that every map has many.
FUSED = cuda.Gpu(1, 227 << 10, 228 << 10)
SPLIT = cuda.Gpu(10_000, 227 << 10, 228 << 10)
SMALL_FUSED = cuda.Gpu(1, 6_000, 18_000)
SMALL_SPLIT = cuda.Gpu(10_000, 6_000, 18_000)
GPUS = {"fused": FUSED, "split": SPLIT, "fused_small": SMALL_FUSED, "split_small": SMALL_SPLIT}


class Propagate:
    """The CUDA backend of `propagate`, on a host."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def forward(self, x, gates, directions, merge, keep_winner, gpu, order=ASCENDING) -> tuple[Tensor, Tensor]:
        codes = [DIRECTIONS.index(name) for name in directions]
        with guarded_memory():
            plan = cuda.plan_forward(x, gates, codes, merge, keep_winner, gpu)
            return self.host.run(plan, order, x=x, gates=gates)

    def backward(
        self, grad, x, gates, winner, directions, merge, gpu, order=ASCENDING, need_x=True, need_gates=True
    ) -> tuple[Tensor, Tensor]:
        codes = [DIRECTIONS.index(name) for name in directions]
        with guarded_memory():
            plan = cuda.plan_backward(grad, x, gates, winner, codes, merge, need_x, need_gates, gpu)
            return self.host.run(plan, order, grad=grad, x=x, gates=gates, winner=winner)

    def results(self, x, gates, directions, merge, grad, gpu, order=ASCENDING) -> list[Tensor]:
        """The map, the gradient of x and that of the gates."""
        out, winner = self.forward(x, gates, directions, merge, merge == "max", gpu, order)
        return [out, *self.backward(grad, x, gates, winner, directions, merge, gpu, order)]


def survives(library: Path, cases: Path) -> bool:
    """Whether a library agrees with the expected results in every case, in every order of threads and blocks."""
    operator = Propagate(Host(library))
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
    sys.exit(SURVIVES if survives(Path(sys.argv[1]), Path(sys.argv[2])) else CAUGHT)
