"""Coarse maps of a batch of images, and the shares of their classes at the resolution of the gates."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from spatialprop.nn.resize import resize
from spatialprop.refiner.most_likely import most_likely

SOFTNESS = 2.0  # pixels, see docs/refiner.md


@dataclass(frozen=True)
class LabelMaps:
    """Label maps of the images' size, with the labels that occur numbered from 0.

    Labels are certain, and where everything is certain nothing would change: half of a class's share is spread over its
    surroundings, by a Gaussian of `SOFTNESS` pixels. The label given stays the most likely one, and has a vote in the
    end. Labels that are rough are averaged over cells as wide as `rough` instead, and have no vote.

    Attributes:
        places: For each pixel the place of its label in `present`, uint8 or int32. (N, H, W)
        present: The labels that occur, in order.
        classes: Number of classes K, of which some may be absent.
        size: Height and width of the gates.
        rough: By how many pixels the borders may be wrong, None if they are believed.
    """

    places: Tensor
    present: Sequence[int]
    classes: int
    size: tuple[int, int]
    rough: float | None

    @property
    def winners(self) -> Tensor:
        """The place in `present` of each pixel's most likely class. (N, H, W)"""
        return self.places

    @property
    def given(self) -> Tensor | None:
        """The place in `present` of the label that has a vote, if any has. (N, H, W)"""
        return self.places if self.rough is None else None

    def shares(self, places: Sequence[int]) -> Tensor:
        """The shares of some of the classes in `present`, at the resolution of the gates. (N, len(places), h, w)"""
        whole = list(zip(self.places.shape[1:], self.size, strict=True))
        found = []
        for place in places:
            certain = resize((self.places == place)[:, None].to(torch.float32), self.size)
            if self.rough is None:
                spread = _blur(certain, [SOFTNESS * (cells / pixels) for pixels, cells in whole])
                found.append((certain + spread) / 2)
            else:
                cells = [min(max(1, round(pixels / self.rough)), most) for pixels, most in whole]
                found.append(resize(resize(certain, cells), self.size))
        return torch.cat(found, dim=1)


@dataclass(frozen=True)
class ProbabilityMaps:
    """Probabilities at any resolution, of which the gates see what enlarging and then averaging would give.

    Attributes:
        values: (N, K, h', w')
        image_size: Height and width of the images.
        size: Height and width of the gates.
        mixed: Whether some of the batch, and not all, are certain everywhere.
    """

    values: Tensor
    image_size: tuple[int, int]
    size: tuple[int, int]
    mixed: bool
    given: ClassVar[None] = None

    @property
    def classes(self) -> int:
        return self.values.shape[1]

    @property
    def present(self) -> Sequence[int]:
        return range(self.classes)

    @property
    def winners(self) -> Tensor:
        """The most likely class of each cell. (N, h', w')"""
        return most_likely(torch.split(self.values, 1, dim=1))

    def shares(self, places: Sequence[int]) -> Tensor:
        """The shares of some of the classes, at the resolution of the gates. (N, len(places), h, w)"""
        first, last = places[0], places[-1] + 1
        whole = len(places) == last - first  # then no copy is needed
        shares = self.values[:, first:last] if whole else self.values[:, list(places)]
        if tuple(shares.shape[2:]) == self.image_size:
            return resize(shares, self.size)
        down, across = self._resizing
        return down @ shares @ across.mT

    @cached_property
    def _resizing(self) -> list[Tensor]:
        """The matrices, for rows and for columns, that enlarge to the image's size and shrink that to the gates'."""
        matrices = []
        for source, through, target in zip(self.values.shape[2:], self.image_size, self.size, strict=True):
            unit = torch.eye(source, device=self.values.device)[None, None]
            matrices.append(resize(resize(unit, (through, source)), (target, source))[0, 0])
        return matrices


def _blur(maps: Tensor, deviations: Sequence[float]) -> Tensor:
    """A Gaussian blur of (N, 1, H, W), whose edges are repeated."""
    for axis, deviation in zip((2, 3), deviations, strict=True):
        reach = max(1, round(2.5 * deviation))
        along = torch.arange(-reach, reach + 1, device=maps.device)
        kernel = torch.exp(-(along**2) / (2 * deviation**2))
        shape = (1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1)
        padding = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        maps = F.conv2d(F.pad(maps, padding, mode="replicate"), (kernel / kernel.sum()).view(shape))
    return maps
