"""An image and a coarse map, opened once and asked many things: this page is the way from them to the results."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from spatialprop.errors import InputError
from spatialprop.memory import refuse_too_much
from spatialprop.nn.refinement import SMALLEST_SHARE, hint_maps, jacobian_row, winning_classes
from spatialprop.nn.resize import resize
from spatialprop.refiner.coarse_maps import ProbabilityMaps
from spatialprop.refiner.inputs import CoarseLike, ImageLike, like, to_coarse, to_image
from spatialprop.refiner.most_likely import GIVEN_LABEL_WEIGHT, MOST_AT_ONCE, most_likely
from spatialprop.refiner.tiles import TiledGates

_BYTES = 44  # a pixel, at the peak of a refinement into labels
_SMALLER = "make image and map smaller, or refine parts that overlap"
_EXCLUDED = torch.finfo(torch.float32).min / 4  # never wins; a quarter, so that interpolation cannot overflow


class Opened:
    """An image and a coarse map whose gates are computed once, when first needed, and kept.

    `Refiner.open` makes one. Results are arrays or tensors, as the coarse map was.

    Args:
        find_gates: Of the network.
        image, coarse, restrict, classes, rough: See `Refiner.__call__`.
        gates: Those of the image, if they are known.
        keep: Whether gates are kept; for one question their memory is better used otherwise.

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
        image: ImageLike,
        coarse: CoarseLike,
        *,
        restrict: bool = True,
        classes: int | None = None,
        rough: float | None = None,
        gates: list[Tensor] | None = None,
        keep: bool = True,
    ) -> None:
        self._find_gates, self._gates, self._keep = find_gates, gates, keep
        self._coarse = coarse
        self._options: dict[str, Any] = {"restrict": restrict, "classes": classes, "rough": rough}
        self._labels: Tensor | None = None
        self._shares: Tensor | None = None  # of all classes
        self._shares_of_present: Tensor | None = None
        self.images, self._batched = to_image(image, find_gates.device)  # (N, 3, H, W)
        with self._inference():
            self._size = find_gates.size(self.images)
            if self.images.device.type == "cpu":
                refuse_too_much(self.images[:, 0].numel() * _BYTES, f"an image of {_text(self.images)}", _SMALLER)
            self._maps = to_coarse(coarse, self.images, self._batched, self._size, classes, rough)
            # Which of the classes that have any share are worth propagating, and in which image each may come out.
            self._places = list(range(len(self._maps.present)))
            self._allowed: Tensor | None = None  # (N, len(places)); None: all in all
            if restrict:
                occurs = winning_classes(self._maps.winners, len(self._places))
                self._places = occurs.any(dim=0).nonzero().flatten().tolist()
                self._allowed = occurs[:, self._places] if len(occurs) > 1 else None
            self._classes = [self._maps.present[place] for place in self._places]

            self._each: list[Opened] = []
            if isinstance(self._maps, ProbabilityMaps) and self._maps.mixed:  # each image as if it were alone
                pairs = zip(torch.split(self.images, 1), torch.split(self._maps.values, 1), strict=True)
                self._each = [Opened(find_gates, *pair, **self._options, keep=keep) for pair in pairs]

    @property
    def labels(self) -> Any:
        """The refined label map. (H, W)

        Where probabilities have been asked for before, the most likely of these.
        """
        with self._inference():
            if self._labels is not None:
                pass
            elif self._each:
                self._labels = torch.cat([one.labels for one in self._each])
            elif self._shares is not None:
                self._labels = self._shares.argmax(dim=1)
            else:
                if self._shares_of_present is not None:
                    places = self._shares_of_present.argmax(dim=1)
                elif len(self._classes) == 1:
                    places = torch.zeros_like(self.images[:, 0], dtype=torch.int32)
                else:
                    places = most_likely(self.refined(), self.images.shape[-2:], self._maps.given)
                self._labels = torch.tensor(self._classes, device=self.images.device)[places]
            return like(self._labels, self._coarse, self._batched)

    @property
    def probabilities(self) -> Any:
        """The refined probabilities of all classes, float32. (K, H, W)"""
        with self._inference():
            if self._shares is None:
                if self._each:
                    self._shares = torch.cat([one.probabilities for one in self._each])
                else:
                    self._shares = self._find_probabilities(self._classes, self._maps.classes)
            return like(self._shares, self._coarse, self._batched)

    @property
    def present(self) -> tuple[Any, Any]:
        """The classes that may come out (k,) and the refined probabilities of these alone (k, H, W), of one image."""
        self._check_single("the list of its classes")
        with self._inference():
            if self._shares_of_present is None:
                count = len(self._classes)
                self._shares_of_present = self._find_probabilities(range(count), count)
            shares = self._shares_of_present[0]
            classes = torch.tensor(self._classes, device=shares.device)
        return (classes, shares) if isinstance(self._coarse, Tensor) else (classes.cpu().numpy(), shares.cpu().numpy())

    def affinity(self, pixel: tuple[int, int]) -> Any:
        """How much each pixel of the coarse map adds to the class that wins at `pixel` (row, column). (H, W)

        It is the row of the refined map's Jacobian, through the directions that win, with the gates as constants.
        """
        self._check_single("an affinity")
        layer, size = self._find_gates.layer, self.images.shape[-2:]
        row, column = _checked_pixel(pixel, *size)
        with self._inference():
            gates = self.gates()
            highest, source = -torch.inf, torch.empty(0)
            for shares in self.shares(self._places):
                at_pixel = resize(layer.propagate(shares, gates), size)[0, :, row, column]
                if at_pixel.max() > highest:
                    highest, source = float(at_pixel.max()), shares[:, at_pixel.argmax(), None]
            with torch.inference_mode(False):
                source = source.clone()
                gates = [one.clone() if one.is_inference() else one for one in gates]

                def refine(change: Tensor) -> Tensor:
                    # Bringing a map to the gates' resolution is linear, so a change of it is all that has to be known.
                    return resize(layer.propagate(source + resize(change, source.shape[-2:]), gates), size)

                found = jacobian_row(refine, torch.zeros(1, 1, *size, device=source.device), (row, column))
        return found if isinstance(self._coarse, Tensor) else found.cpu().numpy()

    def mend(self, coarse: CoarseLike) -> Any:
        """The refined labels of another coarse map of the same image. (H, W)

        It reuses the gates, unless the network looks at the coarse map too: then these depend on it.
        """
        image = self.images if self._batched else self.images[0]
        with self._inference():
            gates = None if self._find_gates.hints else self.gates()
        return Opened(self._find_gates, image, coarse, **self._options, gates=gates).labels

    def gates(self) -> list[Tensor]:
        """The gates, one set (N, D, K, 1, h, w) for all units or one for each."""
        gates = self._gates
        if gates is None:
            names, everything = self._find_gates.hints, range(len(self._maps.present))
            gates = self._find_gates(self.images, hint_maps(self.shares(everything), names) if names else None)
            if not all(math.isfinite(float(one.sum())) for one in gates):
                raise InputError(
                    f"the weights {self._find_gates.name or 'of this network'} give gates that are not finite, which "
                    f"would wipe out the map: they are damaged; get them again"
                )
        if self._keep:
            self._gates = gates
        return gates

    def shares(self, places: Sequence[int]) -> Iterator[Tensor]:
        """The coarse shares of some of the classes, some at a time, at the resolution of the gates. (N, k, h, w)"""
        step = max(1, MOST_AT_ONCE // (len(self.images) * self._size[0] * self._size[1]))
        for first in range(0, len(places), step):
            yield self._maps.shares(places[first : first + step])

    def refined(self) -> Iterator[Tensor]:
        """The propagated maps of the classes that take part, some at a time, at the resolution of the gates."""
        gates, first = self.gates(), 0
        for shares in self.shares(self._places):
            refined = self._find_gates.layer.propagate(shares, gates)
            if self._allowed is not None:
                refined.masked_fill_(~self._allowed[:, first : first + shares.shape[1], None, None], _EXCLUDED)
            first += shares.shape[1]
            yield refined

    def _find_probabilities(self, rows: Sequence[int], count: int) -> Tensor:
        """Refined probabilities in `count` maps: those of the class that takes part as number i in map `rows[i]`."""
        size, given = self.images.shape[-2:], self._maps.given
        if self.images.device.type == "cpu":
            wanted = 8 * count * self.images[:, 0].numel()
            refuse_too_much(wanted, f"{count} maps of {_text(self.images)}", f"ask for labels; {_SMALLER}")
        result = torch.zeros(len(self.images), count, *size, device=self.images.device)
        maps = (one for some in self.refined() for one in torch.split(some, 1, dim=1))
        for place, (row, refined) in enumerate(zip(rows, maps, strict=True)):
            shares = resize(refined, size)[:, 0].clamp_min_(SMALLEST_SHARE)
            if given is not None:
                shares += GIVEN_LABEL_WEIGHT * (given == place)
            result[:, row] = shares
            if self._allowed is not None:
                result[~self._allowed[:, place], row] = 0
        result /= result.sum(dim=1, keepdim=True)
        return result

    def _check_single(self, what: str) -> None:
        if len(self.images) != 1:
            raise InputError(f"{what} belongs to one image; got a batch of {len(self.images)}: give image[0]")

    @contextmanager
    def _inference(self) -> Iterator[None]:
        """Compute in float32 and without gradients, whatever the caller has set."""
        with torch.no_grad(), torch.autocast(self.images.device.type, enabled=False):
            yield


def _text(images: Tensor) -> str:
    return f"{images.shape[-1]}x{images.shape[-2]} pixels"


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
