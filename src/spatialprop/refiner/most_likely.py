"""The most likely class of each pixel, from maps that come class by class and at a lower resolution."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

import torch
from torch import Tensor
from torch.nn import functional as F

from spatialprop.nn.resize import resize

GIVEN_LABEL_WEIGHT = 0.8  # for the label given, added to its share: a line of one pixel needs 0.6
MOST_AT_ONCE = 1 << 25  # numbers in memory, however many classes there are
# From how many classes on, and up to what share of pixels, it pays to look at the unsure ones alone.
_MANY, _FEW = 4, 1 / 3
_UNSURE = -1


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
    values = (one for part in chain(_drained(first), parts) for one in torch.split(part, 1, dim=1))
    return _index_of_largest(((one if size is None else resize(one, size))[:, 0] for one in values), given)


def _where_neighbours_agree(maps: Tensor, size: Sequence[int], given: Tensor | None) -> Tensor:
    """Labels at `size` wherever the four pixels around have the same one, else `_UNSURE`. (N, H, W)

    What lies between four pixels is a mean of theirs: where all have the same largest class, it has that one too.
    """
    labels = _index_of_largest((one[:, 0] for one in torch.split(maps, 1, dim=1)), None)
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
        for pixels in torch.split((labels[image] == _UNSURE).nonzero(), MOST_AT_ONCE // maps.shape[1]):
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
