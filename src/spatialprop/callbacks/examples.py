"""A few test images with all that a report shows of them."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from torch import Tensor

from spatialprop.data import VOID
from spatialprop.files import write_beside


class SaveExamples(pl.Callback):
    """Write the first so many test images, their labels and results to a folder, one `.npz` each.

    Args:
        folder: Where they go.
        count: How many.
        background: The class whose absence is an object; None shows no object probability.
    """

    def __init__(self, folder: Path, count: int, background: int | None = 0) -> None:
        self._folder = folder
        self._count = count
        self._background = background

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.global_rank != 0 or batch_idx >= self._count:
            return
        arrays = image_and_masks(batch, outputs)
        if self._background is not None:
            for method in ("coarse", "refined"):
                if method in outputs:
                    arrays[f"{method}_object"] = _bytes(1 - outputs[method][0, self._background])
        affinity_of = getattr(module, "affinity_of", None)
        if affinity_of is not None:
            pixel = pixel_to_show(arrays["label"], arrays["coarse"], arrays["refined"], self._background)
            arrays["pixel"] = np.array(pixel)
            arrays["affinity"] = affinity_of(batch["image"], outputs["coarse"], pixel).float().cpu().numpy()
        self._folder.mkdir(parents=True, exist_ok=True)
        with write_beside(self._folder / f"{batch_idx:02d}_{batch['name'][0].replace('/', '_')}.npz") as file:
            np.savez_compressed(file, **arrays)


def image_and_masks(batch: Any, outputs: Any) -> dict[str, Any]:
    """A test image, its label and every method's result, as reports read them."""
    labels: dict[str, Tensor] = outputs["labels"]
    arrays: dict[str, Any] = {"image": _bytes(batch["image"][0].permute(1, 2, 0)), "label": _indices(batch["label"])}
    for method, result in labels.items():
        arrays[method if method in ("coarse", "refined") else f"method_{method}"] = _indices(result)
    return arrays


def pixel_to_show(
    label: NDArray[np.uint8], coarse: NDArray[np.uint8], refined: NDArray[np.uint8], background: int | None
) -> tuple[int, int]:
    """The pixel whose affinity says most: deep inside what was mended of an object, or else inside an object.

    What a mended pixel is now, it has heard from others; one that was right from the start listens to itself.
    """
    mended = (coarse != label) & (refined == label) & (label != VOID) & (label != background)
    return telling_pixel(np.where(mended, label, VOID) if mended.any() else label, background)


def telling_pixel(label: NDArray[np.uint8], background: int | None = 0) -> tuple[int, int]:
    """The pixel that lies deepest inside an object and the image, or in the middle where there is no object.

    Example:
        >>> label = np.zeros((9, 9), np.uint8)
        >>> label[2:7, :3] = 1
        >>> telling_pixel(label)
        (3, 1)
    """
    depth = np.zeros(label.shape, np.float32)
    for value in set(np.unique(label).tolist()) - {background, VOID}:
        inside = np.pad((label == value).astype(np.uint8), 1)  # beyond the image there is nothing to hear
        depth += cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    if not depth.any():
        return label.shape[0] // 2, label.shape[1] // 2
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    return int(row), int(column)


def _indices(labels: Tensor) -> NDArray[np.uint8]:
    indices: NDArray[np.uint8] = labels[0].cpu().numpy().astype(np.uint8)
    return indices


def _bytes(shares: Tensor) -> NDArray[np.uint8]:
    rounded: NDArray[np.uint8] = (shares.float().clamp(0, 1) * 255).round().byte().cpu().numpy()
    return rounded
