"""Inputs for `propagate`, ways to lay them out in memory, and how close two precisions must come."""

import random

import pytest
import torch
from torch import Tensor

from spatialprop.ops import DIRECTIONS
from spatialprop.ops.contract import state_dtype

SIZES = [(1, 1), (1, 7), (7, 1), (2, 2), (3, 5), (17, 33), (33, 17), (64, 64), (70, 129)]
MERGES = ["max", "mean", "none"]


def slow(*case):
    """A case of `parametrize` that belongs to the exhaustive part of the suite."""
    return pytest.param(*case, marks=pytest.mark.slow)


# The kernels of a dtype take Numba 20 seconds to compile, and those of one half test what both have in common.
HALVES = [torch.bfloat16, slow(torch.float16)]
ALL_DTYPES = [torch.float64, torch.float32, *HALVES]


def random_case(
    batch=2, channels=4, height=17, width=33, *, groups=None, connection=3, directions=DIRECTIONS, dtype=None, seed=0
) -> tuple[Tensor, Tensor]:
    """A map, and gates of either sign whose absolute values sum to at most 1."""
    generator = torch.Generator().manual_seed(seed)
    groups = channels if groups is None else groups
    x = torch.randn(batch, channels, height, width, generator=generator, dtype=torch.float64)
    raw = torch.randn(
        batch, len(directions), connection, groups, height, width, generator=generator, dtype=torch.float64
    )
    gates = raw / raw.abs().sum(2, keepdim=True).clamp(min=1)
    return x.to(dtype or torch.float64), gates.to(dtype or torch.float64)


def integer_case(
    batch=2, channels=4, height=17, width=33, *, groups=None, connection=3, directions=DIRECTIONS, dtype=None, seed=0
) -> tuple[Tensor, Tensor]:
    """A map of zeros and ones where each pixel has one gate of 1 or -1, or none.

    No rounding happens anywhere, in any precision, and the directions tie at many pixels.
    """
    generator = torch.Generator().manual_seed(seed)
    groups = channels if groups is None else groups
    x = torch.randint(0, 2, (batch, channels, height, width), generator=generator)
    shape = (batch, len(directions), 1, groups, height, width)
    heard = torch.randint(0, connection + 1, shape, generator=generator)
    sign = 2 * torch.randint(0, 2, shape, generator=generator) - 1
    gates = sign * (heard == torch.arange(connection).view(1, 1, -1, 1, 1, 1))
    return x.to(dtype or torch.float64), gates.to(dtype or torch.float64)


def _inner_channels(tensor: Tensor) -> Tensor:
    return tensor.movedim(-3, -1).contiguous().movedim(-1, -3)


def _inner_batch(tensor: Tensor) -> Tensor:
    return tensor.movedim(0, -1).contiguous().movedim(-1, 0)


def _stepped(tensor: Tensor) -> Tensor:
    *outer, height, width = tensor.shape
    surroundings = tensor.new_full(
        (*outer, 2 * height + 1, 3 * width + 2), torch.nan
    )  # a NaN in the result shows that they were read
    view = surroundings[..., 1::2, 2::3]
    return view.copy_(tensor)


def _offset(tensor: Tensor) -> Tensor:
    surroundings = tensor.new_full((tensor.numel() + 6,), torch.nan)
    return surroundings[3:-3].view(tensor.shape).copy_(tensor)


# Layouts of the same values, except that the expanded ones repeat what they started with.
LAYOUTS = {
    "contiguous": lambda tensor: tensor.contiguous(),
    "channels_last": _inner_channels,
    "batch_last": _inner_batch,
    "transposed": lambda tensor: tensor.mT.contiguous().mT,
    "stepped": _stepped,
    "offset": _offset,
    "expanded_batch": lambda tensor: tensor[:1].expand_as(tensor),
    "expanded_channels": lambda tensor: tensor[..., :1, :, :].expand_as(tensor),
    "expanded_rows": lambda tensor: tensor[..., :1, :].expand_as(tensor),
    "expanded_columns": lambda tensor: tensor[..., :1].expand_as(tensor),
}


# Each layout with plain memory, at either place, and twenty pairs of others.
LAYOUT_PAIRS = [
    *((layout, "contiguous") for layout in LAYOUTS),
    *(("contiguous", layout) for layout in LAYOUTS if layout != "contiguous"),
    *random.Random(0).sample(
        [(one, other) for one in LAYOUTS for other in LAYOUTS if "contiguous" not in (one, other)], 20
    ),
]


def assert_as_accurate(actual: Tensor, naive: Tensor, exact: Tensor) -> None:
    """Allow a backend twice the error of plain PyTorch in the same precision."""
    assert actual.dtype == naive.dtype
    assert actual.shape == naive.shape == exact.shape
    exact = exact.cpu().double()
    error, naive_error = ((result.cpu().double() - exact).abs().max() for result in (actual, naive))
    rounding = 4 * torch.finfo(state_dtype(naive.dtype)).eps * exact.abs().max()
    assert error <= 2 * naive_error + rounding, f"off by {error:.3g}; naive is off by {naive_error:.3g}"
