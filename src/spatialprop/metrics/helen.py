"""The scores of face parsing on HELEN."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from spatialprop.metrics.confusion import confusion_matrix, valid_pixels

CLASSES = (
    "background", "skin", "left brow", "right brow", "left eye", "right eye", "nose", "upper lip", "inner mouth",
    "lower lip", "hair",
)  # fmt: skip
COLUMNS = {  # of the paper's Table 1, in its order
    "skin": [1],
    "brows": [2, 3],
    "eyes": [4, 5],
    "nose": [6],
    "mouth": [7, 8, 9],
    "U-lip": [7],
    "L-lip": [9],
    "in-mouth": [8],
    "overall": [2, 3, 4, 5, 6, 7, 8, 9],
}


def has_faces(classes: Sequence[str]) -> bool:
    """Whether classes are those of HELEN, by name and in order, so that the columns of its table apply.

    Example:
        >>> has_faces(["background", "face skin", "hair"]), has_faces([name.replace(" ", "_") for name in CLASSES])
        (False, True)
    """
    return tuple(name.lower().replace("_", " ") for name in classes) == CLASSES


class HelenFScores(Metric):
    """F-measure and IoU of the parts of a face over the whole set, in the columns of the paper's Table 1.

    A column that merges labels (brows, eyes, mouth, overall) treats them as one: a confusion among them is no error.
    The table holds F-measures, the paper's text speaks of IoU; a column that never occurs is NaN in both.

    Args:
        ignore_index: Label of void pixels in the truth, such as padding. HELEN itself has none.

    Example:
        >>> import torch
        >>> from spatialprop.metrics import HelenFScores
        >>> scores = HelenFScores()
        >>> scores.update(torch.tensor([[[2, 3, 6, 0]]]), torch.tensor([[[3, 3, 6, 6]]]))
        >>> {column: round(value.item(), 3) for column, value in scores.compute()["F"].items() if value > 0}
        {'brows': 1.0, 'nose': 0.667, 'overall': 0.857}
    """

    full_state_update = False
    confusion: Tensor

    def __init__(self, ignore_index: int | None = None) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        self.add_state("confusion", torch.zeros(len(CLASSES), len(CLASSES), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Count the pixels of label maps (N, H, W)."""
        valid = valid_pixels(pred, target, len(CLASSES), self.ignore_index)
        self.confusion += confusion_matrix(pred, target, valid, len(CLASSES))

    def compute(self) -> dict[str, dict[str, Tensor]]:
        """{"F": {column: value}, "IoU": {column: value}}."""
        f_measure, iou = {}, {}
        for column, labels in COLUMNS.items():
            right = self.confusion[labels][:, labels].sum()
            in_truth, in_prediction = self.confusion[labels].sum(), self.confusion[:, labels].sum()
            f_measure[column] = 2 * right / (in_truth + in_prediction)
            iou[column] = right / (in_truth + in_prediction - right)
        return {"F": f_measure, "IoU": iou}
