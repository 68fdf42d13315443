"""Results as palette PNGs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl

from spatialprop.data import write_label


class SavePredictions(pl.Callback):
    """Write the label map of every test image as `<folder>/<method>/<name>.png`, its colours those of PASCAL VOC."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def on_test_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        for method, labels in outputs["labels"].items():
            label = labels[0].cpu().numpy().astype(np.uint8)
            write_label(self._folder / method / f"{batch['name'][0]}.png", label)
