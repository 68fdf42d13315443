"""An image and a coarse map, opened once and asked many things."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spatialprop.errors import InputError
from spatialprop.nn.refinement import SMALLEST_SHARE, jacobian_row
from spatialprop.nn.resize import resize
from spatialprop.refiner.coarse_maps import GIVEN_LABEL_WEIGHT, CoarseMaps, most_likely
from spatialprop.refiner.inputs import (
    CoarseLike,
    LabelMaps,
    are_certain,
    as_label_maps,
    check_rough,
    check_together,
    like,
    to_coarse,
)
from spatialprop.refiner.tiles import TiledGates

_EXCLUDED = torch.finfo(torch.float32).min / 4  # never wins; a quarter, so that interpolation cannot overflow


class Options(NamedTuple):
    """What a caller may say about a refinement, see `Refiner.__call__`."""

    restrict: bool = True
    classes: int | None = None
    rough: float | None = None


class Opened:
    """An image and a coarse map whose gates are computed once, when first needed, and kept.

    `Refiner.open` makes one. Results are arrays or tensors, as the coarse map was.

    Example:
        >>> import numpy as np
        >>> from spatialprop import Refiner
        >>> from spatialprop.nn import RefinementNetwork
        >>> from spatialprop.nn.guidance import LightGuidance
        >>> refiner = Refiner(RefinementNetwork(LightGuidance))
        >>> opened = refiner.open(np.zeros((48, 64, 3), np.uint8), np.eye(48, 64, dtype=np.uint8))
        >>> opened.labels.shape, opened.probabilities.shape, opened.affinity((20, 30)).shape
        ((48, 64), (2, 48, 64), (48, 64))
    """

    def __init__(
        self,
        find_gates: TiledGates,
        images: Tensor,
        coarse: CoarseLike,
        options: Options,
        *,
        batched: bool,
        gates: list[Tensor] | None = None,
        keep: bool = True,
    ) -> None:
        self._find_gates = find_gates
        self._images = images
        self._coarse = coarse
        self._options = options
        self._batched = batched
        with _inference(images.device):
            given = to_coarse(coarse, batched, options.classes, images.device)
            check_together(images, given)
            self.parts = [
                Part(find_gates, some, _as_maps(some, maps, find_gates.size(some), options), gates, keep=keep)
                for some, maps in _of_one_kind(images, given)
            ]

    @property
    def labels(self) -> Any:
        """The refined label map. (H, W)

        Where probabilities have been asked for before, the most likely of these.
        """
        with _inference(self._images.device):
            return self._result([part.labels() for part in self.parts])

    @property
    def probabilities(self) -> Any:
        """The refined probabilities of all classes, float32. (K, H, W)"""
        with _inference(self._images.device):
            return self._result([part.probabilities() for part in self.parts])

    @property
    def present(self) -> tuple[Any, Any]:
        """The classes that may come out (k,) and the refined probabilities of these alone (k, H, W), of one image."""
        part = self._only_part("the list of its classes")
        with _inference(self._images.device):
            classes = torch.tensor(part.maps.taking_part, device=self._images.device)
            shares = part.probabilities(of_present=True)[0]
        return (classes, shares) if isinstance(self._coarse, Tensor) else (classes.cpu().numpy(), shares.cpu().numpy())

    def affinity(self, pixel: tuple[int, int]) -> Any:
        """How much each pixel of the coarse map adds to the class that wins at `pixel` (row, column). (H, W)

        It is the row of the refined map's Jacobian, through the directions that win, with the gates as constants.
        """
        part = self._only_part("an affinity")
        place = _checked_pixel(pixel, *self._images.shape[-2:])
        with _inference(self._images.device):
            found = part.affinity(place)
        return found if isinstance(self._coarse, Tensor) else found.cpu().numpy()

    def mend(self, coarse: CoarseLike) -> Any:
        """The refined labels of another coarse map of the same image. (H, W)

        It reuses the gates, unless the network looks at the coarse map too: then these depend on it.
        """
        gates = self.parts[0].gates() if len(self.parts) == 1 and not self._find_gates.has_hints else None
        opened = Opened(self._find_gates, self._images, coarse, self._options, batched=self._batched, gates=gates)
        return opened.labels

    def _only_part(self, what: str) -> Part:
        if len(self._images) != 1 or len(self.parts) != 1:
            raise InputError(f"{what} belongs to one image; got a batch of {len(self._images)}: give image[0]")
        return self.parts[0]

    def _result(self, parts: list[Tensor]) -> Any:
        joined = parts[0] if len(parts) == 1 else torch.cat(parts)  # which would copy even a single one
        return like(joined if self._batched else joined[0], self._coarse)


class Part:
    """Images of a batch whose coarse maps are of one kind, and their gates.

    Attributes:
        images: (N, 3, H, W)
        maps: Their coarse maps, at the resolution of the gates.
    """

    def __init__(
        self,
        find_gates: TiledGates,
        images: Tensor,
        maps: CoarseMaps,
        gates: list[Tensor] | None = None,
        *,
        keep: bool = True,
    ) -> None:
        self.images = images
        self.maps = maps
        self._find_gates = find_gates
        self._gates = gates
        self._keep = keep  # for one question their memory is better used otherwise
        self._labels: Tensor | None = None
        self._shares: Tensor | None = None  # of all classes
        self._shares_of_present: Tensor | None = None

    def gates(self) -> list[Tensor]:
        """The gates, one set (N, D, K, 1, h, w) for all units or one for each."""
        gates = self._gates
        if gates is None:
            gates = self._find_gates(self.images, self._find_gates.hints(self.maps.all_shares()))
        if self._keep:
            self._gates = gates
        return gates

    def refined(self) -> Iterator[tuple[slice, Tensor]]:
        """The propagated maps of the classes that take part, some at a time, at the resolution of the gates."""
        gates = self.gates()
        for some, shares in self.maps.chunks():
            refined = self._find_gates.layer.propagate(shares, gates)
            if self.maps.allowed is not None:
                refined.masked_fill_(~self.maps.allowed[:, some, None, None], _EXCLUDED)
            yield some, refined

    def labels(self) -> Tensor:
        """The most likely class of each pixel. (N, H, W)"""
        if self._labels is None:
            self._labels = self._find_labels()
        return self._labels

    def _find_labels(self) -> Tensor:
        size, classes = self.images.shape[-2:], self.maps.taking_part
        if self._shares is not None:
            return self._shares.argmax(dim=1)
        if len(classes) == 1:
            return torch.full((len(self.images), *size), classes[0], device=self.images.device)
        if self._shares_of_present is not None:
            places = self._shares_of_present.argmax(dim=1)
        else:
            places = most_likely((refined for _, refined in self.refined()), size, self.maps.given)
        return torch.tensor(classes, device=self.images.device)[places]

    def probabilities(self, of_present: bool = False) -> Tensor:
        """Those of all classes, or of the classes that take part alone. (N, K, H, W)"""
        if of_present:
            if self._shares_of_present is None:
                classes = range(len(self.maps.taking_part))
                self._shares_of_present = self._find_probabilities(classes, len(classes))
            return self._shares_of_present
        if self._shares is None:
            self._shares = self._find_probabilities(self.maps.taking_part, self.maps.classes)
        return self._shares

    def _find_probabilities(self, rows: Sequence[int], count: int) -> Tensor:
        """The class that takes part as number i becomes map `rows[i]` of `count`."""
        size, allowed, given = self.images.shape[-2:], self.maps.allowed, self.maps.given
        result = torch.zeros(len(self.images), count, *size, device=self.images.device)
        for some, refined in self.refined():
            for place in range(some.start, some.stop):
                shares = resize(refined[:, place - some.start, None], size)[:, 0].clamp_min_(SMALLEST_SHARE)
                if given is not None:
                    shares += GIVEN_LABEL_WEIGHT * (given == place)
                result[:, rows[place]] = shares
                if allowed is not None:
                    result[~allowed[:, place], rows[place]] = 0
        result /= result.sum(dim=1, keepdim=True)
        return result

    def affinity(self, pixel: tuple[int, int]) -> Tensor:
        """The affinity of a pixel of a single image. (H, W)"""
        layer, size, (row, column) = self._find_gates.layer, self.images.shape[-2:], pixel
        gates = self.gates()
        highest, source = -torch.inf, torch.empty(0)
        for _, shares in self.maps.chunks():
            at_pixel = resize(layer.propagate(shares, gates), size)[0, :, row, column]
            if at_pixel.max() > highest:
                highest, source = float(at_pixel.max()), shares[:, at_pixel.argmax(), None]
        with torch.inference_mode(False):
            source = source.clone()
            gates = [one.clone() if one.is_inference() else one for one in gates]

            def refine(change: Tensor) -> Tensor:
                # Bringing a map to the gates' resolution is linear, so a change of it is all that has to be known.
                return resize(layer.propagate(source + resize(change, source.shape[-2:]), gates), size)

            return jacobian_row(refine, torch.zeros(1, 1, *size, device=source.device), pixel)


@contextmanager
def _inference(device: torch.device) -> Iterator[None]:
    """Compute in float32 and without gradients, whatever the caller has set."""
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        yield


def _of_one_kind(images: Tensor, given: Tensor | LabelMaps) -> Iterator[tuple[Tensor, Tensor | LabelMaps]]:
    """Turn maps that are certain everywhere into labels; a batch in which only some are comes image by image."""
    certain = are_certain(given, images.shape[-2:])
    if isinstance(given, LabelMaps) or not any(certain):
        yield images, given
    elif all(certain):
        yield images, as_label_maps(given)
    else:
        for image, maps, sure in zip(torch.split(images, 1), torch.split(given, 1), certain, strict=True):
            yield image, as_label_maps(maps) if sure else maps


def _as_maps(images: Tensor, given: Tensor | LabelMaps, size: tuple[int, int], options: Options) -> CoarseMaps:
    if options.rough is not None:
        check_rough(options.rough, given)
    return CoarseMaps(given, images.shape[-2:], size, restrict=options.restrict, rough=options.rough)


def _checked_pixel(pixel: tuple[int, int], height: int, width: int) -> tuple[int, int]:
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
