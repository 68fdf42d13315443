"""A coarse map: probabilities at any resolution, or the labels of an image's pixels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from spatialprop.nn.inference import to_cells
from spatialprop.nn.resize import resize
from spatialprop.ops.choosing import most_likely

MOST_AT_ONCE = 1 << 25  # numbers in memory, however many classes there are


@dataclass(frozen=True)
class CoarseMap:
    """The coarse map of one image.

    Attributes:
        values: Probabilities (1, K, h', w'), or for each pixel the place of its label, int32 (1, H, W).
        present: The class of each map, or of each place.
        classes: Number of classes, of which some may be absent.
        known: The sum of the probabilities of all classes, of which some may have been left out. (1, 1, h', w')
        believed: Whether the labels are right as they are.
    """

    values: Tensor
    present: Sequence[int]
    classes: int
    known: Tensor | None = None
    believed: bool = False

    @property
    def are_labels(self) -> bool:
        """Whether each pixel has one label, and no doubt about it."""
        return self.values.dim() == 3

    def labels(self, size: Sequence[int]) -> Tensor:
        """The place of the most likely class of each pixel of an image of `size`. (1, H, W)"""
        return self.values if self.are_labels else most_likely(self.values, size)

    def restricted(self) -> "CoarseMap":
        """Probabilities without the classes that are nowhere the most likely one."""
        known = self.values.sum(dim=1, keepdim=True)
        winners = most_likely(self.values, self.values.shape[-2:])
        places = torch.unique(winners[known[:, 0] > 0]).tolist()
        if len(places) == len(self.present):
            return self
        return replace(self, values=self.values[:, places], present=[self.present[i] for i in places], known=known)

    def in_doubt(self, pixels: float) -> "CoarseMap":
        """The labels as probabilities of cells of so many pixels: about where borders lie, and no more than that."""
        size = self.values.shape[-2:]
        cells = [max(1, round(side / pixels)) for side in size]
        maps = [resize((self.values == place)[:, None].to(torch.float32), cells) for place in range(len(self.present))]
        return replace(self, values=torch.cat(maps, dim=1))

    def cells(self, size: Sequence[int], stride: int) -> Iterator[Tensor]:
        """The shares of the classes present in the cells of an image of `size`, some at a time. (1, k, h, w)"""
        at_once = max(1, MOST_AT_ONCE // (-(-size[0] // stride) * -(-size[1] // stride)))
        for first in range(0, len(self.present), at_once):
            places = range(first, min(first + at_once, len(self.present)))
            if self.are_labels:
                certain = ((self.values == place)[:, None].to(torch.float32) for place in places)
                yield torch.cat([to_cells(one, size, stride) for one in certain], dim=1)
            else:
                yield to_cells(self.values[:, places.start : places.stop], size, stride)

    def known_in_cells(self, size: Sequence[int], stride: int) -> Tensor:
        """How much of each cell is known, the sum of all shares: 1, or 0 where nothing is. (1, 1, h, w)"""
        if self.are_labels:
            return self.values.new_ones((1, 1, *(-(-side // stride) for side in size)), dtype=torch.float32)
        known = self.values.sum(dim=1, keepdim=True) if self.known is None else self.known
        return to_cells(known, size, stride)
