"""The refiner: three lines that mend any segmentation."""

from __future__ import annotations

import copy
import operator
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spatialprop.nn.propagation import SpatialPropagation
from spatialprop.nn.refinement import SMALLEST_SHARE, RefinementNetwork, hint_maps, resize
from spatialprop.ops import DIRECTIONS
from spatialprop.refiner.coarse_maps import VOTE, CoarseMaps, most_likely
from spatialprop.refiner.inputs import (
    CoarseLike,
    ImageLike,
    InputError,
    are_certain,
    as_labels,
    check_rough,
    check_together,
    like,
    to_coarse,
    to_image,
)
from spatialprop.refiner.tiles import TILE, TiledGuidance
from spatialprop.refiner.weights import load_network

_NEVER = torch.finfo(torch.float32).min / 4  # and interpolating it does not overflow


class Refiner:
    """Mends the borders of a segmentation along the affinities that it sees in the image.

    Images are (H, W, 3) arrays, uint8, uint16 or floats from 0 to 1, PIL images, or tensors (3, H, W). Coarse maps are
    probabilities (K, h, w) at any resolution, which cover the whole image, or label maps (H, W) of integers, arrays or
    tensors. Tensors with a batch in front work too. What comes out is an array or a tensor as the coarse map was, on
    the device of the weights.

    Args:
        network: A network that knows no classes, of which the refiner keeps a copy; `Refiner.load` makes one from a
            file.
        description: What it was trained on.
        tile: Side in pixels of the tiles that a larger image is looked at in; results do not depend on it.

    Example:
        >>> import numpy as np
        >>> from spatialprop.nn.guidance import LightGuidance
        >>> refiner = Refiner(RefinementNetwork(LightGuidance))
        >>> image = np.zeros((48, 64, 3), np.uint8)
        >>> labels = np.repeat([[0] * 32 + [7] * 32], 48, axis=0)
        >>> refined = refiner(image, labels)
        >>> refined.shape, np.unique(refined).tolist()
        ((48, 64), [0, 7])
    """

    def __init__(self, network: RefinementNetwork, description: str = "", *, tile: int = TILE) -> None:
        if network.before is not None:
            raise ValueError(
                "this network has hidden maps, so it knows its classes; a refiner works for any: use hidden=None"
            )
        self.network = copy.deepcopy(network).eval()
        self.description = description
        self._guidance = TiledGuidance(self.network, tile)

    @classmethod
    def load(cls, weights: str | os.PathLike[str] = "light", *, device: str | torch.device = "cpu") -> Refiner:
        """The refiner of a name that comes along, or of a .safetensors file, on a device."""
        network, description = load_network(weights)
        return cls(network.to(device), description)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.network.parameters()).device

    def __call__(
        self,
        image: ImageLike,
        coarse: CoarseLike,
        *,
        restrict: bool = True,
        classes: int | None = None,
        rough: float | None = None,
    ) -> Any:
        """The mended label map. (H, W)

        Args:
            image: The photograph.
            coarse: The map to mend.
            restrict: Let no class come out that was nowhere the most likely one in the coarse map.
            classes: Number of classes, if a label map shall be held to it.
            rough: By about how many pixels the borders of a label map may be wrong. None believes a label map, and
                changes it only where propagation is sure.

        Returns:
            Labels in the type they had in a label map, else int64.
        """
        with self._inference():
            batched, parts = self._prepare(image, coarse, restrict, classes, rough)
            labels = _joined([self._labels(seen, maps) for seen, maps in parts])
        return like(labels if batched else labels[0], coarse)

    def probabilities(
        self,
        image: ImageLike,
        coarse: CoarseLike,
        *,
        restrict: bool = True,
        classes: int | None = None,
        rough: float | None = None,
    ) -> Any:
        """The mended probabilities, float32. (K, H, W)

        It takes what a call takes. The K of a label map is `classes`, or its largest label plus one.
        """
        with self._inference():
            batched, parts = self._prepare(image, coarse, restrict, classes, rough)
            result = _joined([self._probabilities(seen, maps) for seen, maps in parts])
        return like(result if batched else result[0], coarse)

    def affinity(self, image: ImageLike, coarse: CoarseLike | None, pixel: tuple[int, int]) -> Any:
        """How much one pixel listens to each pixel of the coarse map. (H, W)

        That is the row of the Jacobian of the refined map that belongs to `pixel` and the class which comes out there,
        through the directions that win and with the gates as they are.

        Args:
            image: The photograph.
            coarse: The map to mend; None counts all directions alike, instead of those that win for a map.
            pixel: Row and column.
        """
        layer = self.network.propagation
        with self._inference():
            seen, batched = to_image(image, self.device)
            if batched:
                raise InputError(f"an affinity belongs to one image; got a batch of {seen.shape[0]}: give image[0]")
            size = seen.shape[-2:]
            if coarse is None:
                layer = copy.copy(layer)
                layer.merge = "mean"
            _, [(seen, maps)] = self._prepare(seen[0], torch.full((2, *size), 0.5) if coarse is None else coarse)
            row, column = _check_pixel(pixel, *size)
            gates = self._gates(seen, maps)
            loudest, source = -torch.inf, torch.empty(0)
            for _, shares in maps.chunks():
                at_pixel = resize(layer.propagate(shares, gates), size)[0, :, row, column]
                if at_pixel.max() > loudest:
                    loudest, source = float(at_pixel.max()), shares[:, at_pixel.argmax(), None]
        with torch.inference_mode(False), torch.enable_grad():
            source = source.clone().requires_grad_()
            listening = resize(layer.propagate(source, [one.clone() for one in gates]), size)[0, 0, row, column]
            (heard,) = torch.autograd.grad(listening, source)
            # Bringing the map to the gates' resolution is linear, so the map itself does not matter.
            whole = torch.zeros(1, 1, *size, device=self.device, requires_grad=True)
            (heard,) = torch.autograd.grad(resize(whole, source.shape[-2:]), whole, heard)
        return heard[0, 0] if isinstance(image if coarse is None else coarse, Tensor) else heard[0, 0].cpu().numpy()

    def export(self, path: str | os.PathLike[str]) -> None:
        """Write an archive that other programs run, for images and coarse maps of any size and number of classes.

        It takes `image` (1, 3, H, W), floats from 0 to 1, and `coarse` (1, K, h, w), and gives what `probabilities`
        gives, (1, K, H, W), without tiles and without checks.

        Args:
            path: `.onnx`, of standard operators alone, or `.pt2` for `torch.export.load` after
                `import spatialprop.ops`, which scans many times faster.
        """
        from spatialprop.refiner.export import export

        export(self.network, Path(path))

    @contextmanager
    def _inference(self) -> Iterator[None]:
        """Whatever surrounds a call: no gradients, and float32."""
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            yield

    def _prepare(
        self,
        image: ImageLike,
        coarse: CoarseLike,
        restrict: bool = True,
        classes: int | None = None,
        rough: float | None = None,
    ) -> tuple[bool, list[tuple[Tensor, CoarseMaps]]]:
        """Whether it is a batch, and its images and maps: all at once, or one by one where they are not of one kind."""
        seen, batched = to_image(image, self.device)
        given = to_coarse(coarse, batched, classes, self.device)
        check_together(seen, given)
        certain = are_certain(given, seen.shape[-2:])
        parts = [(seen, given, certain[0])]
        if isinstance(given, Tensor) and len(set(certain)) > 1:
            parts = [(seen[i : i + 1], given[i : i + 1], sure) for i, sure in enumerate(certain)]
        prepared = []
        for images, maps, sure in parts:
            known = as_labels(maps) if sure and isinstance(maps, Tensor) else maps
            if rough is not None:
                check_rough(rough, known)
            size, gates = images.shape[-2:], self._guidance.size(images)
            prepared.append((images, CoarseMaps(known, size, gates, restrict=restrict, rough=rough)))
        return batched, prepared

    def _labels(self, seen: Tensor, maps: CoarseMaps) -> Tensor:
        size = seen.shape[-2:]
        if len(maps.taking_part) == 1:
            return torch.full((seen.shape[0], *size), maps.taking_part[0], device=self.device)
        places = most_likely((refined for _, refined in self._refine(seen, maps)), size, maps.given)
        return torch.tensor(maps.taking_part, device=self.device)[places]

    def _probabilities(self, seen: Tensor, maps: CoarseMaps) -> Tensor:
        size = seen.shape[-2:]
        result = torch.zeros(seen.shape[0], maps.classes, *size, device=self.device)
        for part, refined in self._refine(seen, maps):
            for place in range(part.start, part.stop):
                shares = resize(refined[:, place - part.start, None], size)[:, 0].clamp_min_(SMALLEST_SHARE)
                if maps.given is not None:
                    shares += VOTE * (maps.given == place)
                result[:, maps.taking_part[place]] = shares
                if maps.allowed is not None:
                    result[~maps.allowed[:, place], maps.taking_part[place]] = 0
        result /= result.sum(dim=1, keepdim=True)
        return result

    def _gates(self, image: Tensor, maps: CoarseMaps) -> list[Tensor]:
        names = self.network.hints
        return self._guidance(image, hint_maps(maps.all_shares(), names) if names else None)

    def _refine(self, image: Tensor, maps: CoarseMaps) -> Iterator[tuple[slice, Tensor]]:
        """What the propagation makes of the classes that take part, some at a time, at the gates' resolution."""
        gates = self._gates(image, maps)
        for part, shares in maps.chunks():
            refined = _propagate(self.network.propagation, shares, gates)
            if maps.allowed is not None:
                refined.masked_fill_(~maps.allowed[:, part, None, None], _NEVER)
            yield part, refined


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)  # which would copy even a single one


def _propagate(layer: SpatialPropagation, x: Tensor, gates: list[Tensor]) -> Tensor:
    """What `layer.propagate` computes where nobody asks for gradients."""
    if x.device.type != "cpu":
        return layer.propagate(x, gates)
    # Calling the registered operator imports what torch.compile needs, for which the first mask would wait a second.
    from spatialprop.ops.propagation.cpu import launch as cpu

    directions = [DIRECTIONS.index(name) for name in layer.directions]
    for unit in range(layer.units):
        x, *_ = cpu.forward(x, gates[unit % len(gates)], directions, layer.merge, False)
    return x


def _check_pixel(pixel: tuple[int, int], height: int, width: int) -> tuple[int, int]:
    try:
        row, column = (operator.index(place) for place in pixel)
    except (TypeError, ValueError):
        raise InputError(f"pixel must be two whole numbers, (row, column); got {pixel!r}") from None
    if not (0 <= row < height and 0 <= column < width):
        raise InputError(
            f"pixel {(row, column)} lies outside the image; it needs a row from 0 to {height - 1} and a column from "
            f"0 to {width - 1}"
        )
    return row, column
