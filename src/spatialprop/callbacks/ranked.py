"""Save the test images that refinement helps most and least."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from torch import Tensor

from spatialprop.callbacks.examples import file_name, image_and_masks
from spatialprop.data import VOID, LabelSet
from spatialprop.maskfiles import write_arrays
from spatialprop.metrics import class_iou, confusion_matrix


class SaveRanked(pl.Callback):
    """Write the best, the median and the worst test images by the gain in their own mIoU, one `.npz` each.

    During the test only a number is kept of each image. The images to write go through the test step once more at the
    end, after the scores have been computed.

    Args:
        folder: The folder.
        count: The number of images of each kind; fewer if there are not three times as many images.
        labels: The classes.
    """

    def __init__(self, folder: Path, count: int, labels: LabelSet) -> None:
        self._folder = folder
        self._count = count
        self._labels = labels
        self._gains: dict[int, float] = {}

    def on_test_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._gains = {}

    def on_test_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        labels: Mapping[str, Tensor] = outputs.get("labels", {})  # none if it is no segmentation
        if trainer.global_rank == 0 and "refined" in labels:
            gain = self._mean_iou(labels["refined"], batch["label"]) - self._mean_iou(labels["coarse"], batch["label"])
            if not np.isnan(gain):  # no scored class occurs
                self._gains[batch_idx] = gain

    def on_test_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.global_rank != 0:
            return
        for left_over in self._folder.glob("*.npz"):
            left_over.unlink()
        loader: Any = trainer.test_dataloaders
        order = list(loader.sampler)
        for kind, places in ranked(self._gains, self._count).items():
            for rank, place in enumerate(places):
                batch = trainer.strategy.batch_to_device(loader.collate_fn([loader.dataset[order[place]]]))
                with trainer.precision_plugin.test_step_context():
                    outputs = module.test_step(batch, place)
                arrays = {"gain": np.array(self._gains[place]), **image_and_masks(batch, outputs)}
                write_arrays(self._folder / f"{kind}_{rank:02d}_{file_name(batch)}.npz", arrays)

    def _mean_iou(self, predicted: Tensor, label: Tensor) -> float:
        # Without torchmetrics, which would wait for the other processes, which hold other images.
        confusion = confusion_matrix(predicted, label, label != VOID, len(self._labels.classes))
        return class_iou(confusion)[list(self._labels.scored)].nanmean().item()


def ranked(gains: Mapping[int, float], count: int) -> dict[str, list[int]]:
    """The indices of the highest, the middle and the lowest gains, without duplicates.

    Example:
        >>> ranked({0: 0.1, 1: -0.2, 2: 0.3, 3: 0.0}, count=2)
        {'best': [2], 'median': [0], 'worst': [1]}
    """
    order = sorted(gains, key=lambda place: -gains[place])
    count = min(count, len(order) // 3)
    middle = (len(order) - count) // 2
    return {"best": order[:count], "median": order[middle : middle + count], "worst": order[len(order) - count :][::-1]}
