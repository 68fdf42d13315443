"""Guidance for images of any size, found in tiles that overlap as far as the network sees."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from spatialprop.nn.inference import Guidance, Refining

TILE = 1024  # pixels; larger tiles take more memory, smaller ones do more of the work twice


class Span(NamedTuple):
    """A tile along one axis: it reaches from start to stop, and is kept from first to last."""

    start: int
    stop: int
    first: int
    last: int


def spans(length: int, tile: int, margin: int) -> Iterator[Span]:
    """Tiles that together keep every pixel of an axis once."""
    for first in range(0, length, tile):
        last = min(first + tile, length)
        if length - last < margin:  # the rest would be part of this tile's margin
            last = length
        yield Span(max(0, first - margin), min(length, last + margin), first, last)
        if last == length:
            return


def look_in_tiles(
    network: Refining, image: Tensor, labels: Tensor, described: Sequence[Tensor], tile: int = TILE
) -> Guidance:
    """The guidance of an image (N, 3, H, W), tile by tile; the result does not depend on the tiles.

    A tile starts where the network's coarsest cells start, and its margin is so wide that what lies beyond reaches none
    of the pixels kept. So there is nothing to blend.

    Args:
        network: Whose guidance.
        image: Bytes, or floats from 0 to 1.
        labels: The most likely class of each pixel in the coarse map. (N, H, W)
        described: What the network's `describe` says of the coarse map, at any resolution that divides the image's.
        tile: Side of the tiles in pixels, without the margin.
    """
    height, width = image.shape[-2:]
    margin = network.reach
    tile = -(-tile // network.coarsest_cell) * network.coarsest_cell
    if max(height, width) <= tile + margin:
        return network.look(as_floats(image), labels, *described)
    size = [-(-side // network.stride) for side in (height, width)]
    parts: Guidance | None = None
    whole: list[Tensor] = []
    for down in spans(height, tile, margin):
        for across in spans(width, tile, margin):
            shown = [_cut(one, down, across, _stride((height, width), one)) for one in described]
            window = (..., slice(down.start, down.stop), slice(across.start, across.stop))
            parts = network.look(as_floats(image[window]), labels[window], *shown)
            found = parts.tensors()
            if not whole:
                whole = [one.new_empty((*one.shape[:-2], *size)) for one in found]
            for target, one in zip(whole, found, strict=True):
                rows, columns = (_cells(span, 0, network.stride) for span in (down, across))
                inner = tuple(_cells(span, span.start, network.stride) for span in (down, across))
                target[..., rows, columns] = one[..., inner[0], inner[1]]
    assert parts is not None  # an image has at least one pixel
    return parts.like(whole)


def as_floats(image: Tensor) -> Tensor:
    """An image of bytes or of floats as floats from 0 to 1."""
    return image.to(torch.float32) / 255 if image.dtype == torch.uint8 else image


def _stride(size: tuple[int, int], maps: Tensor) -> int:
    """The pixels to a cell of maps of an image; of its longer side, since a short one ends within its first cells."""
    return round(max(side / cells for side, cells in zip(size, maps.shape[-2:], strict=True)))


def _cut(maps: Tensor, down: Span, across: Span, stride: int) -> Tensor:
    """The part of maps of some stride that a tile reaches over."""
    rows, columns = (slice(span.start // stride, -(-span.stop // stride)) for span in (down, across))
    return maps[..., rows, columns]


def _cells(span: Span, origin: int, stride: int) -> slice:
    """What a tile keeps, in cells from `origin` on."""
    return slice((span.first - origin) // stride, -(-(span.last - origin) // stride))
