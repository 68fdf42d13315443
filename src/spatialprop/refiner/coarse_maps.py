"""A coarse map at the resolution of the gates, class by class, and back at that of the image."""

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain, islice

import torch
from torch import Tensor
from torch.nn import functional as F

from spatialprop.nn.refinement import winning_classes
from spatialprop.nn.resize import resize
from spatialprop.refiner.inputs import LabelMaps

SOFTNESS = 2.0  # pixels, see docs/refiner.md
GIVEN_LABEL_WEIGHT = 0.8  # for the label given, added to its share: a line of one pixel needs 0.6
_MOST_AT_ONCE = 1 << 25  # numbers in memory, however many classes there are
# From how many classes on, and up to what share of pixels, it pays to look at the unsure ones alone.
_MANY, _FEW = 4, 1 / 3
_UNSURE = -1


class CoarseMaps:
    """The probabilities of the classes that take part, at the resolution (h, w) of the gates.

    Probabilities come out as if they were first enlarged to the image's size and then averaged over the gates' cells.
    Labels are certain, and where everything is certain nothing would change: half of a class's share is spread over its
    surroundings, by a Gaussian of `SOFTNESS` pixels. The label given stays the most likely one, and has a vote in the
    end. Labels that are rough are averaged over cells as wide as `rough` instead, and have no vote.

    Args:
        coarse: Probabilities (N, K, h', w') or labels.
        image_size: Height and width of the image.
        size: Height and width of the gates.
        restrict: Let only classes take part that are the most likely one somewhere.
        rough: By how many pixels the borders of labels may be wrong, None if they are believed.

    Attributes:
        classes: Number of classes K.
        taking_part: The classes whose shares are worth propagating.
        allowed: Which of them may come out in which image of a batch, if not all in all. (N, len(taking_part))
    """

    def __init__(
        self,
        coarse: Tensor | LabelMaps,
        image_size: Sequence[int],
        size: Sequence[int],
        *,
        restrict: bool,
        rough: float | None = None,
    ) -> None:
        self._coarse = coarse
        self._image_size = tuple(image_size)
        self._size = tuple(size)
        self._rough = rough
        self.allowed: Tensor | None = None
        if isinstance(coarse, LabelMaps):
            self.classes = coarse.classes
            self.taking_part = coarse.present  # no other class has any share
            self._sources = list(range(len(coarse.present)))
            winners = coarse.places
        else:
            self.classes = coarse.shape[1]
            self.taking_part = self._sources = list(range(self.classes))
            if restrict:
                winners = most_likely(_one_by_one(coarse))
        if restrict:
            occurs = winning_classes(winners, len(self._sources))
            somewhere = occurs.any(dim=0).nonzero().flatten().tolist()
            self.taking_part = [self.taking_part[k] for k in somewhere]
            self._sources = somewhere
            self.allowed = occurs[:, somewhere] if len(winners) > 1 else None

    def chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield the classes that take part, some at a time: which of them, and their shares (N, k, h, w)."""
        for part in self._parts(len(self._sources)):
            yield part, self._at_gates(self._sources[part])

    def all_shares(self) -> Iterator[Tensor]:
        """Yield the shares of every class that has any, some at a time. (N, k, h, w)"""
        sources = range(len(self._coarse.present) if isinstance(self._coarse, LabelMaps) else self.classes)
        for part in self._parts(len(sources)):
            yield self._at_gates(sources[part])

    @property
    def given(self) -> Tensor | None:
        """For label maps that are believed, the place of each pixel's label in `taking_part`, else None. (N, H, W)"""
        return self._coarse.places if isinstance(self._coarse, LabelMaps) and self._rough is None else None

    def _parts(self, count: int) -> Iterator[slice]:
        batch = (self._coarse.places if isinstance(self._coarse, LabelMaps) else self._coarse).shape[0]
        step = max(1, _MOST_AT_ONCE // (batch * math.prod(self._size)))
        for first in range(0, count, step):
            yield slice(first, min(first + step, count))

    def _at_gates(self, sources: Sequence[int]) -> Tensor:
        if isinstance(self._coarse, LabelMaps):
            return torch.cat([self._soften(self._coarse.places == source) for source in sources], dim=1)
        first, last = sources[0], sources[-1] + 1
        whole = len(sources) == last - first  # then no copy is needed
        shares = self._coarse[:, first:last] if whole else self._coarse[:, list(sources)]
        if tuple(shares.shape[2:]) == self._image_size:
            return resize(shares, self._size)
        down, across = self._resizing
        return down @ shares @ across.mT

    @cached_property
    def _resizing(self) -> list[Tensor]:
        """The matrices, for rows and for columns, that enlarge to the image's size and shrink that to the gates'."""
        assert isinstance(self._coarse, Tensor)
        matrices = []
        for source, through, target in zip(self._coarse.shape[2:], self._image_size, self._size, strict=True):
            unit = torch.eye(source, device=self._coarse.device)[None, None]
            matrices.append(resize(resize(unit, (through, source)), (target, source))[0, 0])
        return matrices

    def _soften(self, mask: Tensor) -> Tensor:
        certain = resize(mask[:, None].to(torch.float32), self._size)
        if self._rough is not None:
            whole = zip(self._image_size, self._size, strict=True)
            cells = [min(max(1, round(pixels / self._rough)), most) for pixels, most in whole]
            return resize(resize(certain, cells), self._size)
        scale = [cells / pixels for cells, pixels in zip(self._size, self._image_size, strict=True)]
        spread = _blur(certain, [SOFTNESS * each for each in scale])
        return (certain + spread) / 2


def most_likely(maps: Iterable[Tensor], size: Sequence[int] | None = None, given: Tensor | None = None) -> Tensor:
    """Index of the largest of maps that come class by class, enlarged to `size` if given. (N, H, W)

    It is the argmax over the classes, the first one where they tie but for rounding, without all classes in memory at
    once and several times quicker. Where labels were `given` (N, H, W), theirs gets a weight more.
    """
    parts = iter(maps)
    first = list(islice(parts, 2))
    height, width = first[0].shape[2:]
    if len(first) == 1 and first[0].shape[1] >= _MANY and size is not None and height < size[0] and width < size[1]:
        labels = _where_neighbours_agree(first[0], size, given)
        if (labels == _UNSURE).count_nonzero() < _FEW * labels.numel():
            return _decide(first[0], labels, given)
    values = (one for part in chain(_drained(first), parts) for one in _one_by_one(part))
    return _index_of_largest(((one if size is None else resize(one, size))[:, 0] for one in values), given)


def _where_neighbours_agree(maps: Tensor, size: Sequence[int], given: Tensor | None) -> Tensor:
    """Labels at `size` wherever the four pixels around have the same one, else `_UNSURE`. (N, H, W)

    What lies between four pixels is a mean of theirs: where all have the same largest class, it has that one too.
    """
    labels = _index_of_largest((one[:, 0] for one in _one_by_one(maps)), None)
    below, beside = (torch.arange(1, side + 1, device=maps.device).clamp_max_(side - 1) for side in maps.shape[2:])
    across = labels == labels[..., beside]
    alike = across & across[:, below] & (labels == labels[:, below])
    rows, columns = (
        ((torch.arange(target, device=maps.device) + 0.5) * (source / target) - 0.5).to(torch.int64)
        for source, target in zip(maps.shape[2:], size, strict=True)
    )
    labels = labels.masked_fill_(~alike, _UNSURE)[:, rows][..., columns]
    return labels if given is None else labels.masked_fill_(labels != given, _UNSURE)


def _decide(maps: Tensor, labels: Tensor, given: Tensor | None) -> Tensor:
    """`labels` after a look at all classes of each pixel that is unsure."""
    height, width = labels.shape[1:]
    for image in range(len(maps)):
        for pixels in torch.split((labels[image] == _UNSURE).nonzero(), _MOST_AT_ONCE // maps.shape[1]):
            row, column = pixels.T
            at = torch.stack([(2 * column + 1) / width - 1, (2 * row + 1) / height - 1], dim=-1).to(maps.dtype)
            shares = F.grid_sample(maps[image, None], at[None, None], padding_mode="border", align_corners=False)
            vote = None if given is None else given[image, row, column]
            labels[image, row, column] = _index_of_largest(shares[0, :, 0], vote)
    return labels


def _index_of_largest(values: Iterable[Tensor], given: Tensor | None) -> Tensor:
    """Index of the largest of `values`, all of one shape, with a weight more for what was `given`."""
    best: Tensor | None = None
    labels: Tensor | None = None
    for index, value in enumerate(values):
        if given is not None:
            value = value + GIVEN_LABEL_WEIGHT * (given == index)
        if best is None or labels is None:
            best, labels = value.clone(), torch.zeros_like(value, dtype=torch.int32)
        else:
            # Indices rise, and a product is quicker than filling by mask where neighbours differ.
            torch.maximum(labels, (value > best).to(labels.dtype).mul_(index), out=labels)
            torch.maximum(best, value, out=best)
    assert labels is not None  # there is at least one class
    return labels


def _drained(parts: list[Tensor]) -> Iterator[Tensor]:
    while parts:
        yield parts.pop(0)  # so that the list does not keep it alive


def _one_by_one(maps: Tensor) -> Iterator[Tensor]:
    for index in range(maps.shape[1]):
        yield maps[:, index : index + 1]


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
