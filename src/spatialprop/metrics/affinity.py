"""Accuracy of predicted affinities: are two neighbours of one class or not?"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

# In cells: wide enough for the smallest dilations to cross the borders of a line of two cells, and narrower than the
# larger dilations, whose pairs can span a border from further away.
NEAR_BORDER = 2
_BINS = 4096  # of logits; an even number, so that 0.5 lies between two
_LIMIT = 16.0  # beyond that, a probability in single precision is 0 or 1
_DIFFERENT, _SAME = 0, 1


class AffinityScores(Metric):
    """Precision, recall, F1 and average precision of affinities, for each dilation, over all pairs and near borders.

    A pair is predicted to be of one class where its affinity is at least 0.5. Most pairs are, so the scores are given
    for both kinds: pairs of the "same" class, and of "different" ones. Each pair is counted once from either end, and
    is near a border if that end is.

    Average precision is the sum of precision times the growth of recall, going down the ranking of pairs; pairs whose
    logits fall into one bin of 1/128 rank alike, so that the whole set fits into a histogram that processes can add up.

    Args:
        dilations: Distances between neighbours.

    Example:
        >>> from spatialprop.metrics import AffinityScores
        >>> scores = AffinityScores(dilations=(1,))
        >>> truth = torch.tensor([1, 1, 0, 0, 1, 1, 1, -1], dtype=torch.int8).reshape(1, 8, 1, 1)
        >>> affinity = torch.tensor([0.9, 0.8, 0.1, 0.6, 0.7, 0.9, 0.4, 0.2]).reshape(1, 8, 1, 1)
        >>> scores.update(affinity, truth, near=torch.tensor([[[True]]]))
        >>> {name: round(value, 3) for name, value in scores.compute()["1"]["all"]["different"].items()}
        {'share': 0.286, 'precision': 0.5, 'recall': 0.5, 'F1': 0.5, 'average_precision': 0.833}
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, dilations: Sequence[int]) -> None:
        super().__init__()
        if not dilations:
            raise ValueError("dilations must hold at least one distance")
        self.dilations = tuple(dilations)
        # By dilation, far from or near to a border, truth, and bin.
        self.add_state("counts", torch.zeros(len(dilations), 2, 2, _BINS, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, affinity: Tensor, pairs: Tensor, near: Tensor) -> None:
        """Count pairs.

        Args:
            affinity: (N, P, H, W), probabilities that the neighbour shares the pixel's class, as `spread` takes them.
            pairs: (N, P, H, W), the truth as `neighbour_labels` gives it; pairs of -1 do not count.
            near: (N, H, W), which pixels lie near a border.
        """
        if affinity.shape != pairs.shape or pairs.dim() != 4 or pairs.shape[1] % len(self.dilations):
            raise ValueError(
                f"affinity and pairs must both be (N, P, H, W), P a multiple of the {len(self.dilations)} dilations; "
                f"got {tuple(affinity.shape)} and {tuple(pairs.shape)}"
            )
        if near.dtype != torch.bool or near.shape != (pairs.shape[0], *pairs.shape[2:]):
            raise ValueError(
                f"near must be a mask (N, H, W) of the pixels of the pairs {tuple(pairs.shape)}; "
                f"got {near.dtype}, {tuple(near.shape)}"
            )
        if affinity.numel() and not (affinity.amin() >= 0 and affinity.amax() <= 1):
            raise ValueError("affinity must hold probabilities from 0 to 1; use .sigmoid() on logits")
        count = len(self.dilations)
        for counts, truth, share in zip(self.counts, pairs.chunk(count, 1), affinity.chunk(count, 1), strict=True):
            position = (share.float().logit().nan_to_num() + _LIMIT) * (_BINS / (2 * _LIMIT))
            place = position.floor().clamp(0, _BINS - 1).long() + _BINS * (truth == 1) + 2 * _BINS * near[:, None]
            counts += torch.bincount(place[truth >= 0], minlength=4 * _BINS).view(2, 2, _BINS)

    def compute(self) -> dict[str, dict[str, dict[str, dict[str, float | None]]]]:
        """Scores by dilation, "all" or "near_border", "same" or "different", and name; None where undefined.

        "share" is the share of pairs of that kind: the precision of a random guess.
        """
        return {
            str(dilation): {
                where: {
                    "same": _scores(counts[_SAME].flip(0), counts[_DIFFERENT].flip(0)),
                    "different": _scores(counts[_DIFFERENT], counts[_SAME]),
                }
                for where, counts in (("all", of_dilation.sum(0)), ("near_border", of_dilation[1]))
            }
            for dilation, of_dilation in zip(self.dilations, self.counts, strict=True)
        }


def _scores(wanted: Tensor, unwanted: Tensor) -> dict[str, float | None]:
    """Scores of a ranking, given how many pairs of each kind share a rank, best rank first."""
    hits, misses = wanted.cumsum(0).double(), unwanted.cumsum(0).double()
    total, everything = hits[-1].item(), (hits[-1] + misses[-1]).item()
    called = hits + misses
    found, chosen = hits[_BINS // 2 - 1].item(), called[_BINS // 2 - 1].item()
    average = (wanted * hits / called.clamp_min(1)).sum().item()
    return {
        "share": _ratio(total, everything),
        "precision": _ratio(found, chosen),
        "recall": _ratio(found, total),
        "F1": _ratio(2 * found, chosen + total),
        "average_precision": _ratio(average, total),
    }


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
