"""Labels that refinement changed, rightly and wrongly."""

import torch
from torch import Tensor
from torchmetrics import Metric

from spatialprop.metrics.confusion import check_label_maps, not_void


class RefinementChanges(Metric):
    """The share of pixels that refinement changed, and how many of those changes were right or wrong.

    Void pixels do not count. Of the changed pixels, "right" is the share that was wrong and is right now, "wrong" the
    share that was right and is wrong now, and "neutral" the share that went from one wrong label to another; where
    nothing changed, these three are NaN.

    Args:
        ignore_index: Label of void pixels in the truth.

    Example:
        >>> import torch
        >>> from spatialprop.metrics import RefinementChanges
        >>> changes = RefinementChanges()
        >>> coarse, refined = torch.tensor([[[0, 0, 1, 1]]]), torch.tensor([[[0, 1, 1, 0]]])
        >>> changes.update(coarse, refined, target=torch.tensor([[[0, 1, 1, 1]]]))
        >>> changes.compute()
        {'changed': tensor(0.5000), 'right': tensor(0.5000), 'wrong': tensor(0.5000), 'neutral': tensor(0.)}
    """

    full_state_update = False
    valid: Tensor
    changed: Tensor
    right: Tensor
    wrong: Tensor

    def __init__(self, ignore_index: int | None = None) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        for name in ("valid", "changed", "right", "wrong"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")

    def update(self, coarse: Tensor, refined: Tensor, target: Tensor) -> None:
        """Count the changes between label maps (N, H, W)."""
        check_label_maps(coarse=coarse, refined=refined, target=target)
        valid = not_void(target, self.ignore_index)
        changed = valid & (coarse != refined)
        self.valid += valid.sum()
        self.changed += changed.sum()
        self.right += (changed & (refined == target)).sum()
        self.wrong += (changed & (coarse == target)).sum()

    def compute(self) -> dict[str, Tensor]:
        """The four shares."""
        return {
            "changed": self.changed / self.valid,
            "right": self.right / self.changed,
            "wrong": self.wrong / self.changed,
            "neutral": (self.changed - self.right - self.wrong) / self.changed,
        }
