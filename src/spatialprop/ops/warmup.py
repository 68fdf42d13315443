"""Compile all CPU kernels, so that nobody waits for them later."""

import torch

from spatialprop.ops.contract import DTYPES
from spatialprop.ops.propagation import propagate
from spatialprop.ops.spreading import spread


def warmup() -> None:
    """Compile the CPU kernels for every dtype, unless they are compiled already.

    It takes a minute or two. Numba keeps the result on disk, beside the package or in the user's cache folder;
    `NUMBA_CACHE_DIR` names another place.
    """
    for dtype in DTYPES:
        x = torch.ones(1, 8, 2, 2, dtype=dtype, requires_grad=True)
        for groups in (1, 8):  # channels that share gates need one more kernel for their gradients
            gates = torch.zeros(1, 4, 3, groups, 2, 2, dtype=dtype, requires_grad=True)
            torch.autograd.grad(propagate(x, gates, backend="cpu").sum(), (x, gates))
        affinity = torch.ones(1, 8, 2, 2, dtype=dtype, requires_grad=True)
        torch.autograd.grad(spread(x, affinity, [1], steps=2, backend="cpu").sum(), (x, affinity))
