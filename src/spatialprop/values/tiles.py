"""The guidance of large images, tile by tile, so that memory grows with what comes out of it alone."""

import torch
from torch import Tensor

from spatialprop.memory import refuse_too_much
from spatialprop.nn.values import ValueGuidance, ValueNetwork

TILE = 1024  # pixels
MARGIN = 256  # pixels around a tile that its guidance sees too; a multiple of every network's stride
_BYTES = 200  # a pixel, at the peak of a matte or a coloured picture, measured on 9 and 16 million pixels


def guide_in_tiles(network: ValueNetwork, image: Tensor, values: Tensor, confidence: Tensor) -> ValueGuidance:
    """What `network.guide` says, each tile from its own surroundings."""
    height, width = image.shape[-2:]
    if image.device.type == "cpu":
        refuse_too_much(_BYTES * height * width, f"an image of {width}x{height} pixels", "make it smaller")
    if max(height, width) <= TILE + MARGIN:
        return network.guide(image, values, confidence)
    rows = []
    for top in range(0, height, TILE):
        row = []
        for left in range(0, width, TILE):
            first = max(0, top - MARGIN), max(0, left - MARGIN)
            last = min(height, top + TILE + MARGIN), min(width, left + TILE + MARGIN)
            seen = (one[..., first[0] : last[0], first[1] : last[1]] for one in (image, values, confidence))
            inner = top - first[0], left - first[1], min(TILE, height - top), min(TILE, width - left)
            row.append(_part(network.guide(*seen), inner, network.stride))
        rows.append(_joined(row, -1))
    return _joined(rows, -2)


def _part(guidance: ValueGuidance, inner: tuple[int, int, int, int], stride: int) -> ValueGuidance:
    top, left, height, width = inner

    def cut(maps: Tensor, scale: int) -> Tensor:
        i, j, h, w = top // scale, left // scale, -(-height // scale), -(-width // scale)
        return maps[..., i : i + h, j : j + w].clone()

    return ValueGuidance(
        [cut(one, stride) for one in guidance.gates],
        cut(guidance.weight, stride),
        None if guidance.proposed is None else cut(guidance.proposed, 1),
        None if guidance.trust is None else cut(guidance.trust, stride),
        None if guidance.choice is None else cut(guidance.choice, stride),
    )


def _joined(parts: list[ValueGuidance], dim: int) -> ValueGuidance:
    def join(maps: list[Tensor | None]) -> Tensor | None:
        found = [one for one in maps if one is not None]
        return torch.cat(found, dim=dim) if found else None

    weight = join([part.weight for part in parts])
    assert weight is not None
    return ValueGuidance(
        [torch.cat(list(gates), dim=dim) for gates in zip(*(part.gates for part in parts), strict=True)],
        weight,
        join([part.proposed for part in parts]),
        join([part.trust for part in parts]),
        join([part.choice for part in parts]),
    )
