"""An image and a coarse map, opened once and asked many things: this page is the way from them to the results."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from spatialprop.errors import InputError
from spatialprop.memory import refuse_too_much
from spatialprop.nn.hints import label_borders
from spatialprop.nn.inference import Guidance, Refining, to_cells
from spatialprop.nn.refinement import SMALLEST_SHARE, jacobian_row
from spatialprop.nn.resize import resize
from spatialprop.nn.trusting import TrustingNetwork, moved_shares
from spatialprop.ops.choosing import choose, most_likely
from spatialprop.refiner.coarse_maps import CoarseMap
from spatialprop.refiner.inputs import CoarseLike, ImageLike, Rough, like, to_coarse, to_image
from spatialprop.refiner.tiles import TILE, as_floats, look_in_tiles

_BYTES, _BYTES_TWICE = 120, 160  # a pixel, at the peak of a refinement into labels, measured on 17 million pixels
FAR_OFF = 0.4  # pixels changed for each that lies along a border; hardly any truth reaches it
DOUBT = 5  # pixels of the cells in which labels that are far off are seen: borders then move farther, and break less
_SMALLER = "make image and map smaller, or refine parts that overlap"


class Opened:
    """An image and a coarse map whose guidance is computed once, when first needed, and kept.

    `Refiner.open` makes one. Results are arrays or tensors, as the coarse map was.

    Args:
        network: A network that knows no classes.
        device: Where it computes.
        image, coarse, restrict, classes, rough: See `Refiner.__call__`.
        tile: Side of the tiles in which larger images pass through the network.
        name: What the network's weights are called, for errors.

    Example:
        >>> import numpy as np
        >>> from spatialprop import Refiner
        >>> opened = Refiner.load().open(np.zeros((48, 64, 3), np.uint8), np.eye(48, 64, dtype=np.uint8))
        >>> opened.labels.shape, opened.probabilities.shape, opened.affinity((20, 30)).shape
        ((48, 64), (2, 48, 64), (48, 64))
    """

    def __init__(
        self,
        network: Refining,
        device: torch.device,
        image: ImageLike,
        coarse: CoarseLike,
        *,
        restrict: bool = True,
        classes: int | None = None,
        rough: Rough = "auto",
        tile: int = TILE,
        name: str = "",
    ) -> None:
        self._arguments: dict[str, Any] = {
            "restrict": restrict, "classes": classes, "rough": rough, "tile": tile, "name": name
        }  # fmt: skip
        self._network, self._device, self._coarse = network, device, coarse
        self.images, self._batched = to_image(image, device)  # (N, 3, H, W)
        with _inference(device):
            twice = isinstance(network, TrustingNetwork) and network.first is not None
            self._refuse_too_large(_BYTES_TWICE if twice else _BYTES, "an image", _SMALLER)
            self._maps = to_coarse(coarse, self.images, self._batched, classes, rough, restrict, network.judges_labels)

    @cached_property
    def _each(self) -> list[_OpenedImage]:
        tile, name = self._arguments["tile"], self._arguments["name"]
        pairs = zip(torch.split(self.images, 1), self._maps, strict=True)
        with _inference(self._device):
            return [_OpenedImage(self._network, image, one, tile, name).settled() for image, one in pairs]

    @property
    def labels(self) -> Any:
        """The refined label map. (H, W)"""
        with _inference(self._device):
            return like(_joined([one.labels() for one in self._each]), self._coarse, self._batched)

    @property
    def probabilities(self) -> Any:
        """The refined probabilities of all classes, float32. (K, H, W)"""
        self._refuse_many_maps(self._maps[0].classes)
        with _inference(self._device):
            return like(_joined([one.probabilities() for one in self._each]), self._coarse, self._batched)

    @property
    def present(self) -> tuple[Any, Any]:
        """The classes that may come out (k,) and the refined probabilities of these alone (k, H, W), of one image."""
        self._refuse_many_maps(len(self._maps[0].present))
        only = self._only("the list of its classes")
        with _inference(self._device):
            classes, shares = torch.tensor(only.coarse.present, device=self._device), only.shares()[0]
        return (classes, shares) if isinstance(self._coarse, Tensor) else (classes.cpu().numpy(), shares.cpu().numpy())

    def affinity(self, pixel: tuple[int, int]) -> Any:
        """How much each pixel of the coarse map adds to the class that wins at `pixel` (row, column). (H, W)

        It is the row of the refined map's Jacobian, with the guidance as a constant.
        """
        place = _checked_pixel(pixel, *self.images.shape[-2:])
        only = self._only("an affinity")
        with _inference(self._device):
            found = only.affinity(place)
        return found if isinstance(self._coarse, Tensor) else found.cpu().numpy()

    def mend(self, coarse: CoarseLike) -> Any:
        """The refined labels of another coarse map of the same image. (H, W)

        The arguments of the first map count, but for `rough` and `classes` where one is a label map and the other not.
        """
        image = self.images if self._batched else self.images[0]
        alike = getattr(coarse, "ndim", None) == getattr(self._coarse, "ndim", None)
        arguments = self._arguments if alike else self._arguments | {"rough": "auto", "classes": None}
        return Opened(self._network, self._device, image, coarse, **arguments).labels

    def _refuse_many_maps(self, count: int) -> None:
        self._refuse_too_large(8 * count, f"{count} maps", f"ask for labels; {_SMALLER}")

    def _refuse_too_large(self, bytes_of_pixel: int, what: str, fix: str) -> None:
        if self.images.device.type == "cpu":
            height, width = self.images.shape[-2:]
            wanted = bytes_of_pixel * self.images[:, 0].numel()
            refuse_too_much(wanted, f"{what} of {width}x{height} pixels", fix)

    def _only(self, what: str) -> _OpenedImage:
        if len(self._maps) != 1:
            raise InputError(f"{what} belongs to one image; got a batch of {len(self._maps)}: give image[0]")
        return self._each[0]


class _OpenedImage:
    """One image of a batch: the way from it and its coarse map to the results, each step taken when first needed."""

    def __init__(self, network: Refining, image: Tensor, coarse: CoarseMap, tile: int, name: str) -> None:
        self._network, self._image, self.coarse = network, image, coarse
        self._tile, self._name = tile, name
        self._size = image.shape[-2:]
        self._kept: Tensor | None = None

    def settled(self) -> _OpenedImage:
        """This, or the same with its labels in doubt, where their borders turn out to be far off."""
        if not self.coarse.are_labels or self.coarse.believed:
            return self
        changed = int((self._places != self.coarse.values).sum())
        if changed == 0 or changed < FAR_OFF * float(label_borders(self.coarse.values).sum()):
            return self
        return _OpenedImage(self._network, self._image, self.coarse.in_doubt(DOUBT), self._tile, self._name)

    @cached_property
    def _guidance(self) -> Guidance:
        labels = self.coarse.labels(self._size)
        found = look_in_tiles(self._network, self._image, labels, self._described(labels), self._tile)
        if not all(math.isfinite(float(one.sum())) for one in found.tensors()):
            raise InputError(
                f"the weights {self._name or 'of this network'} give guidance that is not finite, which would wipe out "
                f"the map: they are damaged; get them again"
            )
        return found

    def _described(self, labels: Tensor) -> tuple[Tensor, ...]:
        described = self._network.describe(as_floats(self._image), self._cells())
        if not isinstance(self._network, TrustingNetwork) or self._network.first is None:
            return described
        judged = replace(self.coarse, believed=False)  # as far as gates go, whatever comes of the labels
        first = _OpenedImage(self._network.first, self._image, judged, self._tile, self._name)
        known = self.coarse.known_in_cells(self._size, self._network.stride)
        return self._network.told(described, labels, first._places, first._moved(), known)

    @cached_property
    def _refined(self) -> Tensor:
        """The refined shares of cells, of the classes that may come out. (1, k, h, w)"""
        guidance, stride = self._guidance, self._network.stride
        known = self.coarse.known_in_cells(self._size, stride)
        refined = _joined([self._network.spread(some, known, guidance) for some in self._cells()], dim=1)
        self._kept = None
        return refined

    def _moved(self) -> Tensor:
        """How much of each cell went from one class to another. (1, 1, h, w)"""
        done, moved = 0, self._refined.new_zeros(())
        for some in self._cells():
            moved = moved + moved_shares(some, self._refined[:, done : done + some.shape[1]])
            done += some.shape[1]
        return moved

    def _cells(self) -> Iterable[Tensor]:
        """The shares in cells, some classes at a time; where those are all, they are kept for the next step."""
        kept = self._kept  # which another thread may take away between two looks at it
        if kept is not None:
            return [kept]
        parts = self.coarse.cells(self._size, self._network.stride)
        some = next(parts)
        if some.shape[1] == len(self.coarse.present):
            self._kept = some
        return itertools.chain([some], parts)

    @cached_property
    def _places(self) -> Tensor:
        """The place in `present` of the most likely class of each pixel. (1, H, W)"""
        if self.coarse.believed:
            return self.coarse.values
        if len(self.coarse.present) == 1:
            return torch.zeros_like(self._image[:, 0], dtype=torch.int32)
        if self._guidance.choice is None:
            return most_likely(self._refined, self._size)
        return most_likely(self.coarse.values, self._size, self._refined, self._guidance.choice)

    def labels(self) -> Tensor:
        """The most likely class of each pixel. (1, H, W)"""
        return torch.tensor(self.coarse.present, device=self._image.device)[self._places]

    def probabilities(self) -> Tensor:
        """Those of all classes. (1, K, H, W)"""
        shares = self.shares()
        if list(self.coarse.present) == list(range(self.coarse.classes)):
            return shares
        found = shares.new_zeros((1, self.coarse.classes, *self._size))
        found[:, list(self.coarse.present)] = shares
        return found

    def shares(self) -> Tensor:
        """The probabilities of the classes that may come out. (1, k, H, W)"""
        places = range(len(self.coarse.present))
        if self.coarse.believed:
            return torch.stack([self.coarse.values == place for place in places], dim=1).float()
        found = torch.empty((1, len(places), *self._size), device=self._image.device)
        for place in places:  # all classes at once would take several times the memory
            own = self.coarse.values == place if self.coarse.are_labels else self.coarse.values[:, place]
            cells = self._refined[:, place, None]
            found[:, place] = self._pixels(cells, own[:, None].float())[:, 0]
        found.clamp_min_(SMALLEST_SHARE)
        return found.div_(found.sum(dim=1, keepdim=True))

    def affinity(self, pixel: tuple[int, int]) -> Tensor:
        """The row of the Jacobian that belongs to a pixel and to the class that wins there. (H, W)"""
        row, column = pixel
        stride, guidance = self._network.stride, self._guidance
        with torch.inference_mode(False):
            if guidance.tensors()[0].is_inference():
                guidance = guidance.like([one.clone() for one in guidance.tensors()])
            known = self.coarse.known_in_cells(self._size, stride).clone()
            winner = int(self._places[0, row, column])
            coarse = self.coarse.values
            own = coarse == winner if self.coarse.are_labels else resize(coarse, self._size)[:, winner]

            def refine(maps: Tensor) -> Tensor:
                cells = to_cells(maps, self._size, stride)
                return self._pixels(self._network.spread(cells, known, guidance), maps, guidance)

            heard = jacobian_row(refine, own[:, None].float().clone(), pixel)
            if self.coarse.are_labels:
                return heard
            said = coarse.sum(dim=1, keepdim=True) if self.coarse.known is None else self.coarse.known
            return heard * (resize(said, self._size)[0, 0] > 0)  # where nothing is known, nothing adds to any class

    def _pixels(self, cells: Tensor, own: Tensor, guidance: Guidance | None = None) -> Tensor:
        """The shares of pixels, given those of cells and of the coarse map, of any resolution. (1, k, H, W)"""
        choice = (guidance or self._guidance).choice
        return resize(cells, self._size) if choice is None else choose(cells, resize(own, self._size), choice)


def _joined(parts: list[Tensor], dim: int = 0) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=dim)  # which would copy even a single one


@contextmanager
def _inference(device: torch.device) -> Iterator[None]:
    """Compute in float32 and without gradients, whatever the caller has set."""
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        yield


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
