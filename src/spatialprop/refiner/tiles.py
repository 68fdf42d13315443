"""Gates for images of any size, found in tiles that overlap as far as the network sees."""

import copy
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from spatialprop.nn.guidance import LightGuidance
from spatialprop.nn.refinement import RefinementNetwork
from spatialprop.nn.resize import resize

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


class TiledGates:
    """Finds the gates of images tile by tile; the result does not depend on the tiles.

    A tile starts where the network's coarsest cells start, and its margin is so wide that what lies beyond reaches none
    of the pixels kept. So there is nothing to blend.

    Args:
        network: Whose guidance, hints and propagation.
        tile: Side of the tiles in pixels, without the margin.
        name: What the network's weights are called, for errors.

    Attributes:
        hints: What the network is shown of the coarse map, see `hint_maps`.
        layer: The propagation that the gates are for.
    """

    def __init__(self, network: RefinementNetwork, tile: int = TILE, name: str = "") -> None:
        self.name = name
        guidance = network.guidance
        cell = coarsest_cell(guidance)
        self.stride = int(guidance.stride)  # type: ignore[arg-type]
        self.margin = 6 * cell  # how far these networks see
        self.tile = -(-tile // cell) * cell
        self.layer = network.propagation
        self.hints = network.hints
        self._guidance = folded(guidance)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self._guidance.parameters()).device

    def size(self, image: Tensor) -> tuple[int, int]:
        """Height and width of the gates for an image."""
        height, width = image.shape[-2:]
        return -(-height // self.stride), -(-width // self.stride)

    def __call__(self, image: Tensor, hints: Tensor | None) -> list[Tensor]:
        """Sets of gates (N, D, K, 1, h, w) for an image (N, 3, H, W) and hints at the gates' resolution."""
        height, width = image.shape[-2:]
        enlarged = None if hints is None else resize(hints, (height, width))
        if max(height, width) <= self.tile + self.margin:
            return self.layer.gates(self._see(image, enlarged))
        gates: list[Tensor] = []
        for down in spans(height, self.tile, self.margin):
            for across in spans(width, self.tile, self.margin):
                window = (..., slice(down.start, down.stop), slice(across.start, across.stop))
                guidance = self._see(image[window], None if enlarged is None else enlarged[window])
                inner = guidance[..., self._cells(down, down.start), self._cells(across, across.start)]
                for place, one in enumerate(self.layer.gates(inner)):
                    if place == len(gates):
                        gates.append(one.new_empty((*one.shape[:-2], *self.size(image))))
                    gates[place][..., self._cells(down, 0), self._cells(across, 0)] = one
        return gates

    def _see(self, image: Tensor, hints: Tensor | None) -> Tensor:
        pixels = image.to(torch.float32) / 255 if image.dtype == torch.uint8 else image
        shown = pixels if hints is None else torch.cat([pixels, hints], dim=1)
        guidance: Tensor = self._guidance(shown.contiguous(memory_format=torch.channels_last))
        return guidance.contiguous()

    def _cells(self, span: Span, origin: int) -> slice:
        return slice((span.first - origin) // self.stride, -(-(span.last - origin) // self.stride))


def coarsest_cell(guidance: nn.Module) -> int:
    """Side in pixels of what a guidance network's coarsest stage sums up in one value."""
    return 1 << guidance.stages if isinstance(guidance, LightGuidance) else 32


def folded(guidance: nn.Module) -> nn.Module:
    """Copy a network for inference: batch norm becomes part of the convolutions, channels lie last in memory."""
    guidance = copy.deepcopy(guidance).eval().requires_grad_(False)
    for layers in guidance.modules():
        if isinstance(layers, nn.Sequential):
            for place, (layer, following) in enumerate(itertools.pairwise(list(layers))):
                if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
                    layers[place] = fuse_conv_bn_eval(layer, following)
                    layers[place + 1] = nn.Identity()
    return guidance.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
