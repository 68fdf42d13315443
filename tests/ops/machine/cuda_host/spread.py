"""Plans of spreading/cuda.py on a host. Run as a program it judges a library, perhaps one built from a mutant."""

import sys
from pathlib import Path

import torch
from torch import Tensor

from spatialprop.ops.machine.cuda_launch import layout_of
from spatialprop.ops.spreading import cuda
from tests.ops.machine.cuda_host.host import ASCENDING, CAUGHT, ORDERS, SURVIVES, Host, agree, guarded_memory


class Spread:
    """The CUDA backend of `spread`, on a host."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def forward(self, x, affinity, dilations, kernel, steps, order=ASCENDING) -> Tensor:
        plan = cuda.plan_forward(layout_of(x), layout_of(affinity), tuple(dilations), kernel, steps)
        with guarded_memory():
            (out,) = self.host.run(plan, order, x, affinity)
        return out

    def backward(
        self, grad, x, affinity, dilations, kernel, steps, order=ASCENDING, need_x=True, need_affinity=True
    ) -> tuple[Tensor, Tensor]:
        layouts = (layout_of(grad), layout_of(x), layout_of(affinity))
        plan = cuda.plan_backward(*layouts, tuple(dilations), kernel, steps, need_x, need_affinity)
        with guarded_memory():
            return self.host.run(plan, order, grad, x, affinity)

    def results(self, x, affinity, dilations, kernel, steps, grad, order=ASCENDING) -> list[Tensor]:
        """The map, the gradient of x and that of the affinity."""
        out = self.forward(x, affinity, dilations, kernel, steps, order)
        return [out, *self.backward(grad, x, affinity, dilations, kernel, steps, order)]


def survives(library: Path, cases: Path) -> bool:
    """Whether a library agrees with the expected results in every case, in every order of threads and blocks."""
    operator = Spread(Host(library))
    for x, affinity, dilations, kernel, steps, grad, expected in torch.load(cases, weights_only=True):
        for order in ORDERS:
            try:
                results = operator.results(x, affinity, dilations, kernel, steps, grad, order)
            except AssertionError:
                return False
            if not agree(results, expected):
                return False
    return True


if __name__ == "__main__":
    sys.exit(SURVIVES if survives(Path(sys.argv[1]), Path(sys.argv[2])) else CAUGHT)
