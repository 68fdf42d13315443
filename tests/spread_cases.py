"""Inputs for `spread` and `neighbour_labels`, and both definitions read one pixel at a time, sharing no code."""

import numpy as np
import torch
from torch import Tensor

from tests.cases import assert_as_accurate

# (height, width), dilations, kernel: single pixels and lines, dilations beyond the map, more pixels than a vector.
NEIGHBOURHOODS = [
    ((1, 1), [1], 3),
    ((1, 1), [5, 2], 3),
    ((1, 9), [1, 3], 3),
    ((9, 1), [2, 1], 5),
    ((3, 4), [4, 1], 3),
    ((2, 2), [1, 50], 3),
    ((5, 6), [1, 2], 5),
    ((17, 33), [1, 2, 4, 8], 3),
    ((10, 40), [3, 20], 3),
    ((7, 16), [1], 7),
]


def neighbours_in_words(dilations, kernel):
    """(row, column) offsets in the contract's order."""
    middle = kernel // 2
    return [
        (dilation * (i - middle), dilation * (j - middle))
        for dilation in dilations
        for i in range(kernel)
        for j in range(kernel)
        if i != middle or j != middle
    ]


def spread_case(
    batch=2, channels=5, height=17, width=33, *, neighbours=32, dtype=torch.float64, seed=0
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, channels, height, width, generator=generator, dtype=torch.float64)
    affinity = torch.rand(batch, neighbours, height, width, generator=generator, dtype=torch.float64)
    return x.to(dtype), affinity.to(dtype)


def spread_by_pixel(x: Tensor, affinity: Tensor, dilations, kernel, steps) -> Tensor:
    h, weights = x.detach().cpu().double().numpy(), affinity.detach().cpu().double().numpy()
    height, width = h.shape[2:]
    offsets = neighbours_in_words(dilations, kernel)
    for _ in range(steps):
        after = np.empty_like(h)
        for i in range(height):
            for j in range(width):
                above, below = h[:, :, i, j], np.ones((len(h), 1))
                for k, (down, right) in enumerate(offsets):
                    if 0 <= i + down < height and 0 <= j + right < width:
                        weight = weights[:, k, i, j, None]
                        above = above + weight * h[:, :, i + down, j + right]
                        below = below + weight
                after[:, :, i, j] = above / below
        h = after
    return torch.from_numpy(h)


def neighbour_labels_by_pixel(labels: Tensor, dilations, kernel, ignore_index) -> Tensor:
    batch, height, width = labels.shape
    offsets = neighbours_in_words(dilations, kernel)
    pairs = torch.empty(batch, len(offsets), height, width, dtype=torch.int8)
    for n in range(batch):
        for k, (down, right) in enumerate(offsets):
            for i in range(height):
                for j in range(width):
                    pairs[n, k, i, j] = -1
                    if 0 <= i + down < height and 0 <= j + right < width:
                        own, other = labels[n, i, j].item(), labels[n, i + down, j + right].item()
                        if ignore_index is None or ignore_index not in (own, other):
                            pairs[n, k, i, j] = own == other
    return pairs


def assert_right(actual: Tensor, naive: Tensor, exact: Tensor) -> None:
    if naive.dtype == torch.float64:  # then naive is exact by decree
        torch.testing.assert_close(actual.cpu(), exact, rtol=1e-12, atol=1e-12)
    else:
        assert_as_accurate(actual, naive, exact)
