"""The steps in which a network that knows no classes refines an image, for whoever takes them one by one."""

import copy
import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from spatialprop.nn.resize import pad_to_multiple, pooled

_Network = TypeVar("_Network", bound=nn.Module)


class Guidance(NamedTuple):
    """What a network says about an image and its coarse map, at the resolution of its cells (h, w)."""

    gates: tuple[Tensor, ...]  # one set (N, 4, 3, 1, h, w) for all units, or one for each
    trust: Tensor | None = None  # (N, 1, h, w), from 0 to 1
    choice: Tensor | None = None  # see `choose`; without it, refined cells are enlarged

    def tensors(self) -> list[Tensor]:
        """All of them."""
        return [*self.gates, *(one for one in (self.trust, self.choice) if one is not None)]

    def like(self, tensors: Sequence[Tensor]) -> "Guidance":
        """Other tensors in the places of these."""
        rest = iter(tensors)
        gates = tuple(next(rest) for _ in self.gates)
        return Guidance(gates, *(None if one is None else next(rest) for one in (self.trust, self.choice)))


class Refining(Protocol):
    """A network that refines shares of any classes; a cell is `stride` pixels wide and high.

    Attributes:
        judges_labels: Whether it sees how far the borders of a label map may be trusted; else they are believed.
        stride: Pixels of a cell, each way.
        coarsest_cell: Pixels that one value of its coarsest stage sums up, each way.
        reach: How many pixels away something still changes its guidance.
    """

    @property
    def judges_labels(self) -> bool: ...

    @property
    def stride(self) -> int: ...

    @property
    def coarsest_cell(self) -> int: ...

    @property
    def reach(self) -> int: ...

    def describe(self, image: Tensor, cells: Iterable[Tensor]) -> tuple[Tensor, ...]:
        """What the network is shown of the coarse map of a whole image, given the shares of its classes by and by."""

    def look(self, image: Tensor, labels: Tensor, *described: Tensor) -> Guidance:
        """The guidance of an image or a tile of it, given the labels of its pixels and its part of `describe`."""

    def spread(self, cells: Tensor, known: Tensor, guidance: Guidance) -> Tensor:
        """The refined shares of some classes, given their shares (N, k, h, w) and the sum of all shares."""


def to_cells(coarse: Tensor, size: Sequence[int], stride: int) -> Tensor:
    """The means over cells of a coarse map (N, K, h', w') enlarged to `size`. (N, K, ceil(H / s), ceil(W / s))"""
    if tuple(coarse.shape[-2:]) == tuple(size):
        return pooled(pad_to_multiple(coarse, stride), stride)
    down, across = (
        _along(before, after, stride, coarse) for before, after in zip(coarse.shape[-2:], size, strict=True)
    )
    return down @ coarse @ across.mT


def _along(before: int, after: int, stride: int, like: Tensor) -> Tensor:
    """The matrix that enlarges `before` pixels to `after` and takes means. (ceil(after / s), before)"""
    unit = like.new_ones(before).diag()[None, None]
    enlarged = F.interpolate(unit, size=(before, after), mode="bilinear", align_corners=False)
    return F.avg_pool2d(pad_to_multiple(enlarged, stride), (1, stride))[0, 0, :before].mT


def folded(network: _Network) -> _Network:
    """Copy a network for inference: batch norm becomes part of the convolutions, channels lie last in memory."""
    network = copy.deepcopy(network).eval().requires_grad_(False)
    for layers in network.modules():
        if isinstance(layers, nn.Sequential):
            for place, (layer, following) in enumerate(itertools.pairwise(list(layers))):
                if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
                    layers[place] = fuse_conv_bn_eval(layer, following)
                    layers[place + 1] = nn.Identity()
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
