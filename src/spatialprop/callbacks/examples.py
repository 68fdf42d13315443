"""Save a few test images for the report."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from torch import Tensor

from spatialprop.data import VOID
from spatialprop.maskfiles import write_arrays


class SaveExamples(pl.Callback):
    """Write the first test images with their labels and results to a folder, one `.npz` each.

    Args:
        folder: The folder.
        count: The number of images.
        background: Everything but this class is an object; None saves no object probability.
    """

    def __init__(self, folder: Path, count: int, background: int | None = 0) -> None:
        self._folder = folder
        self._count = count
        self._background = background

    def on_test_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        if trainer.global_rank != 0 or batch_idx >= self._count:
            return
        path = self._folder / f"{batch_idx:02d}_{file_name(batch)}.npz"
        if "pictures" in outputs:  # what comes out is no segmentation
            write_arrays(path, image_and_pictures(batch, outputs))
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
        write_arrays(path, arrays)


def file_name(batch: Any) -> str:
    """The name of a test image, such as that of one in a mixed data set, without slashes."""
    name: str = batch["name"][0]
    return name.replace("/", "_")


def image_and_masks(batch: Any, outputs: Any) -> dict[str, Any]:
    """The arrays that reports read: a test image, its label and every method's result."""
    labels: dict[str, Tensor] = outputs["labels"]
    arrays: dict[str, Any] = {"image": _bytes(batch["image"][0].permute(1, 2, 0)), "label": _indices(batch["label"])}
    for method, result in labels.items():
        arrays[method if method in ("coarse", "refined") else f"method_{method}"] = _indices(result)
    return arrays


def image_and_pictures(batch: Any, outputs: Any) -> dict[str, Any]:
    """The arrays that reports read: a test image, and what every method makes of its values, as pictures (H, W, 3)."""
    image = _bytes(batch["image"][0].permute(1, 2, 0))
    shown = {f"picture_{method}": picture for method, picture in outputs["pictures"].items()}
    return {"image": image if image.shape[2] == 3 else np.repeat(image[..., :1], 3, axis=2), **shown}


def pixel_to_show(
    label: NDArray[np.uint8], coarse: NDArray[np.uint8], refined: NDArray[np.uint8], background: int | None
) -> tuple[int, int]:
    """The pixel with the most instructive affinity: deep inside a corrected part of an object, or else in an object.

    A corrected pixel owes its label to others; one that was right from the start depends mostly on itself.
    """
    corrected = (coarse != label) & (refined == label) & (label != VOID) & (label != background)
    return telling_pixel(np.where(corrected, label, VOID) if corrected.any() else label, background)


def telling_pixel(label: NDArray[np.uint8], background: int | None = 0) -> tuple[int, int]:
    """The pixel deepest inside an object and the image, or the middle of the image if there is no object.

    Example:
        >>> label = np.zeros((9, 9), np.uint8)
        >>> label[2:7, :3] = 1
        >>> telling_pixel(label)
        (3, 1)
    """
    depth = np.zeros(label.shape, np.float32)
    for value in set(np.unique(label).tolist()) - {background, VOID}:
        inside = np.pad((label == value).astype(np.uint8), 1)  # outside of the image nothing propagates
        depth += cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    if not depth.any():
        return label.shape[0] // 2, label.shape[1] // 2
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    return int(row), int(column)


def _indices(labels: Tensor) -> NDArray[np.uint8]:
    return np.asarray(labels[0].cpu(), np.uint8)


def _bytes(shares: Tensor) -> NDArray[np.uint8]:
    return np.asarray((shares.float().clamp(0, 1) * 255).round().byte().cpu())
