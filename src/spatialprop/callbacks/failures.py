"""Save the worst failures of affinities and of the propagation along them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray

from spatialprop.callbacks.examples import file_name, image_and_masks
from spatialprop.data import VOID
from spatialprop.maskfiles import write_arrays
from spatialprop.metrics import error_regions

KINDS = ("border", "spread")
_TIED = 0.5  # affinity from which a pair counts as one class
_SIDE = 64  # pixels of a cut-out at least


class _Failure(NamedTuple):
    size: float
    before: int | None  # size of the error before the propagation, for the kind "spread"
    arrays: dict[str, Any]
    name: str


class SaveFailures(pl.Callback):
    """Write cut-outs of the worst failures of two kinds to a folder, one `.npz` each, at most one of a kind an image.

    "border" is the longest stretch of a class border whose pixels are tied, with an affinity of 0.5 or more, to a
    nearest neighbour on the other side. "spread" is the region of errors that propagation has enlarged most.

    Args:
        folder: The folder.
        count: The number of failures of each kind.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self._count = count
        self._worst: dict[str, list[_Failure]] = {}

    def on_test_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._worst = {kind: [] for kind in KINDS}

    def on_test_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        if trainer.global_rank != 0 or "missed_borders" not in outputs:
            return
        maps = {name: map_ for name, map_ in image_and_masks(batch, outputs).items() if not name.startswith("method_")}
        missed = outputs["missed_borders"][0].float().cpu().numpy()
        size = maps["label"].shape[::-1]
        maps["missed"] = (cv2.resize(missed, size, interpolation=cv2.INTER_NEAREST) * 255).round().astype(np.uint8)
        found: dict[str, tuple[float, int | None, NDArray[np.bool_]]] = {"border": _ignored_border(maps["missed"])}
        if "refined" in maps:
            found["spread"] = _spread_error(maps)
        for kind, (extent, before, mask) in found.items():
            if extent > 0:
                arrays = {name: _cut(array, mask) for name, array in (maps | {"where": mask}).items()}
                self._worst[kind].append(_Failure(extent, before, arrays, file_name(batch)))
                self._worst[kind] = sorted(self._worst[kind], key=lambda failure: -failure.size)[: self._count]

    def on_test_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        for kind, failures in self._worst.items():
            for place, (size, before, arrays, name) in enumerate(failures):
                numbers = {"size": np.array(size)} | ({} if before is None else {"before": np.array(before)})
                write_arrays(self._folder / f"{kind}_{place:02d}_{name}.npz", arrays | numbers)


def _ignored_border(missed: NDArray[np.uint8]) -> tuple[float, None, NDArray[np.bool_]]:
    """Extent and mask of the longest stretch of border whose pixels are tied across it."""
    tied = (missed >= round(_TIED * 255)).astype(np.uint8)
    number, places, stats, _ = cv2.connectedComponentsWithStats(tied, connectivity=8)
    if number < 2:
        return 0, None, tied.astype(np.bool_)
    extents = stats[1:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(axis=1)
    longest = 1 + int(extents.argmax())
    return float(extents.max()), None, np.asarray(places == longest)


def _spread_error(maps: Mapping[str, NDArray[np.uint8]]) -> tuple[float, int, NDArray[np.bool_]]:
    """Growth, former size and mask of the region of errors that grew most."""
    regions = error_regions(maps["coarse"], maps["refined"], maps["label"], VOID)
    most = max(regions, key=lambda region: region.after - region.before, default=None)
    if most is None:
        return 0, 0, np.zeros(maps["label"].shape, np.bool_)
    return float(most.after - most.before), most.before, most.mask


def _cut(array: NDArray[Any], mask: NDArray[np.bool_]) -> NDArray[Any]:
    """A square around the mask, twice its size, cut off at the edges of the image."""
    rows, columns = np.nonzero(mask)
    extent = 1 + max(np.ptp(rows), np.ptp(columns))
    wanted = max(_SIDE, 2 * int(extent))
    height, width = (min(wanted, length) for length in mask.shape)
    top, left = (
        int(np.clip((places.min() + places.max() + 1 - side) // 2, 0, length - side))
        for places, side, length in zip((rows, columns), (height, width), mask.shape, strict=True)
    )
    return array[top : top + height, left : left + width]
