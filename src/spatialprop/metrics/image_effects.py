"""Pixels that refinement corrects and breaks in each image, with conditions that may decide whether it helps."""

import torch
from torch import Tensor
from torchmetrics import Metric

from spatialprop.metrics.confusion import check_label_maps, not_void
from spatialprop.metrics.error_regions import error_regions

# Largest share of the image that a small region of errors has: well within the reach of the default dilations, so that
# a few steps can outvote it.
SMALL = 1 / 1000
_COUNTS = ("pixels", "wrong", "wrong_in_small_regions", "mended", "broken", "border_pairs", "border_pairs_seen")


class ImageEffects(Metric):
    """For each image: pixels that refinement corrected and broke, errors before, and border pairs that affinities see.

    Void pixels do not count. Regions of errors are those of the coarse labels alone, so that the conditions do
    not depend on the refinement. A border pair, one of different classes, is seen where its
    affinity is below 0.5.

    Args:
        ignore_index: Label of void pixels in the truth.

    Example:
        >>> import torch
        >>> from spatialprop.metrics import ImageEffects
        >>> effects = ImageEffects()
        >>> coarse, refined = torch.tensor([[[0, 0, 1, 1]]]), torch.tensor([[[0, 1, 1, 0]]])
        >>> affinity, pairs = torch.tensor([[[[0.9, 0.7, 0.2, 0.9]]]]), torch.tensor([[[[1, 0, 0, 1]]]])
        >>> effects.update(coarse, refined, torch.tensor([[[0, 1, 1, 1]]]), affinity, pairs)
        >>> effects.compute()["mended"], effects.compute()["border_pairs_seen"]
        ([1], [1])
    """

    full_state_update = False
    counts: list[Tensor] | Tensor

    def __init__(self, ignore_index: int | None = None) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        self.add_state("counts", [], dist_reduce_fx="cat")
        self._begin()

    def update(self, coarse: Tensor, refined: Tensor, target: Tensor, affinity: Tensor, pairs: Tensor) -> None:
        """Add images.

        Args:
            coarse, refined, target: Label maps (N, H, W).
            affinity: (N, P, h, w), probabilities that the neighbour shares the pixel's class.
            pairs: (N, P, h, w), the truth as `neighbour_labels` gives it; pairs of -1 do not count.
        """
        check_label_maps(coarse=coarse, refined=refined, target=target)
        counted = not_void(target, self.ignore_index)
        wrong, changed = counted & (coarse != target), counted & (coarse != refined)
        border = pairs == 0
        masks = (counted, wrong, changed & (refined == target), changed & (coarse == target), border,
                 border & (affinity < 0.5))  # fmt: skip
        pixels, errors, corrected, broken, borders, seen = (mask.flatten(1).sum(1) for mask in masks)
        small = torch.tensor(list(map(self._in_small_regions, coarse, target)), device=pixels.device)
        assert isinstance(self.counts, list)  # until it is gathered
        self.counts.append(torch.stack([pixels, errors, small, corrected, broken, borders, seen], 1))

    def compute(self) -> dict[str, list[int]]:
        """For each count, a list with a number for each image, in an order that no number of processes changes."""
        gathered = torch.cat(self.counts) if isinstance(self.counts, list) else self.counts
        rows = sorted(gathered.tolist())
        return {name: [row[place] for row in rows] for place, name in enumerate(_COUNTS)}

    def reset(self) -> None:
        """Forget all images."""
        super().reset()
        self._begin()

    def _begin(self) -> None:
        # An empty tensor, so that a process without images has something to gather.
        self.counts = [torch.zeros(0, len(_COUNTS), dtype=torch.int64, device=self.device)]

    def _in_small_regions(self, coarse: Tensor, target: Tensor) -> int:
        maps = coarse.cpu().numpy(), target.cpu().numpy()
        sizes = (region.before for region in error_regions(maps[0], maps[0], maps[1], self.ignore_index))
        return sum(size for size in sizes if size <= SMALL * target.numel())
