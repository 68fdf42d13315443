"""Label maps and coarse maps in files, checked against the classes of their data set."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spatialprop.data.label_set import VOID, LabelSet
from spatialprop.drawing import class_colours
from spatialprop.files import write_beside
from spatialprop.maskfiles import read_indices, read_probabilities

COARSE_SUFFIXES = (".npz", ".npy", ".png")


def read_label(path: Path, labels: LabelSet) -> NDArray[np.uint8]:
    """Read a label map, with VOID where the data set's ignore value stands. (H, W)"""
    return checked_label(path, read_indices(path), labels)


def checked_label(path: Path, indices: NDArray[Any], labels: LabelSet) -> NDArray[np.uint8]:
    """Check the indices of a file, and put VOID in place of the data set's ignore value. (H, W)"""
    void = np.zeros_like(indices, bool) if labels.ignore_index is None else indices == labels.ignore_index
    _check_indices(path, indices[~void], labels)
    return np.where(void, VOID, indices).astype(np.uint8)


def read_coarse(path: Path, labels: LabelSet) -> NDArray[np.uint8]:
    """Read a coarse map as probabilities x 255. (K, h, w)"""
    classes = len(labels.classes)
    if path.suffix == ".png":
        indices = read_indices(path)
        _check_indices(path, indices, labels)
        return np.stack([np.where(indices == value, 255, 0).astype(np.uint8) for value in range(classes)])
    shares = read_probabilities(path)
    if shares.ndim != 3 or shares.shape[0] != classes or 0 in shares.shape:
        raise ValueError(
            f"{path} has shape {shares.shape}; a coarse map of {labels.name!r} needs ({classes}, h, w): "
            f"one map for each class of the data set (dataset.json, where there is one)"
        )
    if shares.dtype == np.uint8:
        return shares
    if shares.dtype.kind != "f":
        raise ValueError(f"{path} has dtype {shares.dtype}; store floats from 0 to 1, or uint8 x 255")
    if not (shares.min() >= 0 and shares.max() <= 1 + 1e-3):  # NaN fails too
        raise ValueError(
            f"{path} holds values from {shares.min():.3g} to {shares.max():.3g}; "
            f"write probabilities from 0 to 1, such as a softmax gives"
        )
    return np.asarray(np.rint(np.minimum(shares, 1) * 255), np.uint8)


def write_label(path: Path, label: NDArray[np.uint8]) -> None:
    """Write a label map (H, W) as a palette PNG of class indices, in the colours of PASCAL VOC."""
    picture = Image.fromarray(label)
    picture.putpalette(class_colours().tobytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_beside(path) as file:
        picture.save(file, format="PNG")


def _check_indices(path: Path, indices: NDArray[Any], labels: LabelSet) -> None:
    highest = int(indices.max(initial=0))
    if highest >= len(labels.classes):
        raise ValueError(
            f"{path} holds the label {highest}; {labels.name!r} has the classes 0 to {len(labels.classes) - 1} and "
            f"ignore_index = {labels.ignore_index}; correct the file or, where there is one, dataset.json"
        )
