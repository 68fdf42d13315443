"""Connected regions of errors before and after refinement: do they shrink or grow?"""

from bisect import bisect_right
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from spatialprop.metrics.confusion import check_label_maps

SIZES = (0, 1, 4, 16, 64, 256, 1024, 4096)  # lower ends of the bins, in pixels


class ErrorRegion(NamedTuple):
    """One region that was, or is now, taken for a class that it is not."""

    predicted: int
    before: int  # wrong pixels
    after: int
    places: NDArray[np.int32]  # (H, W), numbers of all regions of that class
    number: int

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Its errors, before and after. (H, W)"""
        return np.asarray(self.places == self.number)


def error_regions(
    coarse: NDArray[np.integer], refined: NDArray[np.integer], target: NDArray[np.integer], ignore_index: int | None
) -> list[ErrorRegion]:
    """Connected regions of pixels (H, W) that are wrongly taken for one class, before or after.

    Every wrong pixel, before and after, belongs to just one region: that of its wrong class, connected through the
    eight neighbours.

    Example:
        >>> target = np.zeros((1, 6), np.int64)
        >>> coarse, refined = np.array([[0, 1, 0, 0, 0, 1]]), np.array([[1, 1, 1, 0, 0, 0]])
        >>> [(region.before, region.after) for region in error_regions(coarse, refined, target, None)]
        [(1, 3), (1, 0)]
    """
    counted = np.ones(target.shape, np.bool_) if ignore_index is None else target != ignore_index
    was, now = counted & (coarse != target), counted & (refined != target)
    regions = []
    for label in np.unique(np.concatenate([coarse[was], refined[now]])).tolist():
        before, after = was & (coarse == label), now & (refined == label)
        number, places = cv2.connectedComponents((before | after).astype(np.uint8), connectivity=8)
        sizes_before = np.bincount(places[before], minlength=number)
        sizes_after = np.bincount(places[after], minlength=number)
        regions += [
            ErrorRegion(label, int(sizes_before[region]), int(sizes_after[region]), places, region)
            for region in range(1, number)
        ]
    return regions


class ErrorRegions(Metric):
    """Wrong pixels before and after refinement, by the size of the region of errors that they belong to.

    A region's size is its number of wrong pixels before; size 0 holds errors that refinement made where
    there were none. Sums over all sizes are all wrong pixels before and after.

    Args:
        ignore_index: Label of void pixels in the truth.

    Example:
        >>> from spatialprop.metrics import ErrorRegions
        >>> regions = ErrorRegions()
        >>> target = torch.zeros(1, 1, 6, dtype=torch.int64)
        >>> regions.update(torch.tensor([[[0, 1, 0, 0, 0, 1]]]), torch.tensor([[[1, 1, 1, 0, 0, 0]]]), target)
        >>> regions.compute()["1-3"]
        {'regions': 2, 'before': 2, 'after': 3}
    """

    full_state_update = False
    sums: Tensor

    def __init__(self, ignore_index: int | None = None) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        self.add_state("sums", torch.zeros(len(SIZES), 3, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, coarse: Tensor, refined: Tensor, target: Tensor) -> None:
        """Add label maps (N, H, W)."""
        check_label_maps(coarse=coarse, refined=refined, target=target)
        sums = np.zeros((len(SIZES), 3), np.int64)
        before, after, truth = (labels.cpu().numpy() for labels in (coarse, refined, target))
        for image in range(len(truth)):
            for region in error_regions(before[image], after[image], truth[image], self.ignore_index):
                sums[bisect_right(SIZES, region.before) - 1] += (1, region.before, region.after)
        self.sums += torch.from_numpy(sums).to(self.sums.device)

    def compute(self) -> dict[str, dict[str, int]]:
        """Number of regions and wrong pixels before and after, by size such as "0", "1-3" or "4096-"."""
        return {
            name: dict(zip(("regions", "before", "after"), row, strict=True))
            for name, row in zip(_names(), self.sums.tolist(), strict=True)
        }


def _names() -> list[str]:
    ends = [str(after - 1) for after in SIZES[1:]] + [""]
    return [start if start == end else f"{start}-{end}" for start, end in zip(map(str, SIZES), ends, strict=True)]
