"""Results as PNGs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl

from spatialprop.data import write_label
from spatialprop.maskfiles import write_picture


class SavePredictions(pl.Callback):
    """Write the result of every test image as `<folder>/<method>/<name>.png`; label maps have the colours of VOC."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def on_test_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        for method, picture in outputs.get("pictures", {}).items():
            path = self._folder / method / f"{batch['name'][0]}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_picture(path, picture)
        for method, labels in outputs.get("labels", {}).items():
            label = labels[0].cpu().numpy().astype(np.uint8)
            write_label(self._folder / method / f"{batch['name'][0]}.png", label)
