"""Results as palette PNGs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from PIL import Image

from spatialprop.data.example import LabelSet
from spatialprop.files import write_beside


class SavePredictions(pl.Callback):
    """Write the label map of every test image as `<folder>/<method>/<name>.png`, its colours those of PASCAL VOC."""

    def __init__(self, folder: Path, labels: LabelSet) -> None:
        self._folder = folder
        self._palette = labels.palette.tobytes()

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        for method, labels in outputs["labels"].items():
            picture = Image.fromarray(labels[0].cpu().numpy().astype(np.uint8))
            picture.putpalette(self._palette)
            path = self._folder / method / f"{batch['name'][0]}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            with write_beside(path) as file:
                picture.save(file, format="PNG")
