"""The dense affinity matrix that gates define: how much each pixel depends on each other one."""

from collections.abc import Sequence

import torch
from torch import Tensor

from spatialprop.ops.contract import autocast, check_directions, check_gates, is_integer
from spatialprop.ops.propagation import propagate


def affinity_matrix(gates: Tensor, directions: Sequence[str] | None = None) -> Tensor:
    """Write out the matrix G of the paper's Eq. 3, one for each direction.

    Its size is the square of the map's: for small maps. One row of any map comes from `affinity_row`.

    Args:
        gates: (N, D, K, G, H, W), as for `propagate`.
        directions: Names for the D blocks; by default ("right", "down", "left", "up").

    Returns:
        (N, D, G, H*W, H*W); the row is the listening pixel, the column the source, both row-major.

    Example:
        >>> import torch
        >>> from spatialprop.ops import affinity_matrix
        >>> affinity_matrix(torch.full((1, 1, 1, 1, 1, 3), 0.5), ["right"])[0, 0, 0]
        tensor([[1.0000, 0.0000, 0.0000],
                [0.5000, 0.5000, 0.0000],
                [0.2500, 0.2500, 0.5000]])
    """
    names = check_directions(directions)
    check_gates(gates, names)
    batch, _, _, groups, height, width = gates.shape
    pixels = height * width
    # One channel for each source pixel, holding a one there: the response is that pixel's column of G.
    sources = torch.eye(pixels, dtype=gates.dtype, device=gates.device).view(1, pixels, height, width)
    sources = sources.repeat(1, groups, 1, 1).expand(batch, -1, -1, -1)
    response = propagate(sources, gates, directions=names, merge="none")  # (N, D, G*HW, H, W)
    return response.reshape(batch, len(names), groups, pixels, pixels).transpose(-1, -2)


def affinity_row(gates: Tensor, pixel: tuple[int, int], directions: Sequence[str] | None = None) -> Tensor:
    """Compute how much one pixel depends on each other one: a row of `affinity_matrix`, for a map of any size.

    It costs one backward scan a direction; the matrix is never formed. No gradient flows to the gates: where one is
    needed, take the row of `affinity_matrix`.

    Args:
        gates: (N, D, K, G, H, W), as for `propagate`.
        pixel: (row, column) of the listening pixel.
        directions: Names for the D blocks; by default ("right", "down", "left", "up").

    Returns:
        (N, D, G, H, W).

    Example:
        >>> import torch
        >>> from spatialprop.ops import affinity_row
        >>> affinity_row(torch.full((1, 1, 1, 1, 1, 3), 0.5), (0, 2), ["right"])
        tensor([[[[[0.2500, 0.2500, 0.5000]]]]])
    """
    names = check_directions(directions)
    check_gates(gates, names)
    height, width = gates.shape[-2:]
    if not isinstance(pixel, Sequence) or len(pixel) != 2 or not all(map(is_integer, pixel)):
        raise TypeError(f"pixel must be two integers, (row, column); got {pixel!r}")
    row, column = map(int, pixel)
    if not (0 <= row < height and 0 <= column < width):
        raise ValueError(f"pixel {(row, column)} lies outside the map, which has {height} rows and {width} columns")
    # The scans are linear in the map, so a row of G is the gradient of the listening pixel, whatever the map.
    rows = []
    with torch.inference_mode(False), torch.enable_grad():
        gates = autocast(gates.clone() if gates.is_inference() else gates.detach())
        for d, name in enumerate(names):
            x = torch.zeros_like(gates[:, 0, 0]).requires_grad_()  # (N, G, H, W)
            listening = propagate(x, gates[:, d : d + 1], directions=[name], merge="mean")[..., row, column].sum()
            rows.append(torch.autograd.grad(listening, x)[0])
    return torch.stack(rows, dim=1)
