"""Images, label maps and coarse maps as they lie on disk, or an error that names the file."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spatialprop.data.label_set import VOID, LabelSet

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp")
COARSE_SUFFIXES = (".npz", ".npy", ".png")


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image as RGB. (H, W, 3)"""
    try:
        with Image.open(path) as image:
            mode = image.mode
            pixels = np.array(image.convert("RGB"))
    except FileNotFoundError:
        raise FileNotFoundError(f"the image {path} does not exist") from None
    except Exception as error:  # a damaged file makes decoders raise anything
        raise ValueError(f"{path} cannot be read as an image: {error}; replace it") from None
    if mode.startswith(("I", "F")):
        raise ValueError(f"{path} is stored in mode {mode!r}; convert it to 8 bits a channel")
    return pixels


def read_image_size(path: Path) -> tuple[int, int]:
    """Height and width of an image, read from its header."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except FileNotFoundError:
        raise FileNotFoundError(f"the image {path} does not exist") from None
    except Exception as error:
        raise ValueError(f"{path} cannot be read as an image: {error}; replace it") from None


def read_label(path: Path, labels: LabelSet) -> NDArray[np.uint8]:
    """Read a label map, with VOID where the data set's ignore value stands. (H, W)"""
    return checked_label(path, read_indices(path), labels)


def checked_label(path: Path, indices: NDArray[np.uint8], labels: LabelSet) -> NDArray[np.uint8]:
    """The indices that a file holds, with VOID for the data set's ignore value, if they are classes otherwise."""
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
    try:
        with path.open("rb") as file:
            stored = np.load(file, allow_pickle=False)
            probabilities = stored["probs"] if isinstance(stored, np.lib.npyio.NpzFile) else stored
    except KeyError:
        raise ValueError(f"{path} has no array `probs`; save it with np.savez_compressed(path, probs=...)") from None
    except Exception as error:
        raise ValueError(f"{path} cannot be read as a coarse map: {error}; write it again") from None
    if probabilities.ndim != 3 or probabilities.shape[0] != classes or 0 in probabilities.shape:
        raise ValueError(
            f"{path} has shape {probabilities.shape}; a coarse map of {labels.name!r} needs ({classes}, h, w): "
            f"one map for each class of the data set (dataset.json, where there is one)"
        )
    if probabilities.dtype == np.uint8:
        return probabilities.astype(np.uint8, copy=False)
    if not np.issubdtype(probabilities.dtype, np.floating):
        raise ValueError(f"{path} has dtype {probabilities.dtype}; store floats from 0 to 1, or uint8 x 255")
    if not (probabilities.min() >= 0 and probabilities.max() <= 1 + 1e-3):  # NaN fails too
        raise ValueError(
            f"{path} holds values from {probabilities.min():.3g} to {probabilities.max():.3g}; "
            f"write probabilities from 0 to 1, such as a softmax gives"
        )
    return np.asarray(np.rint(np.minimum(probabilities, 1) * 255), np.uint8)


def read_indices(path: Path) -> NDArray[np.uint8]:
    """The numbers in an 8-bit grey or palette picture: of a palette picture its indices, not its colours. (H, W)"""
    try:
        with Image.open(path) as image:
            mode = image.mode
            indices = np.asarray(image)
    except FileNotFoundError:
        raise FileNotFoundError(f"the label map {path} does not exist") from None
    except Exception as error:
        raise ValueError(f"{path} cannot be read as a label map: {error}; replace it") from None
    if mode not in ("L", "P", "1"):
        raise ValueError(
            f"{path} is stored in mode {mode!r}; labels must be an 8-bit grey or palette PNG of class indices, "
            f"not colours: write the indices"
        )
    return indices.astype(np.uint8)


def _check_indices(path: Path, indices: NDArray[np.uint8], labels: LabelSet) -> None:
    highest = int(indices.max(initial=0))
    if highest >= len(labels.classes):
        raise ValueError(
            f"{path} holds the label {highest}; {labels.name!r} has the classes 0 to {len(labels.classes) - 1} and "
            f"ignore_index = {labels.ignore_index}; correct the file or, where there is one, dataset.json"
        )
