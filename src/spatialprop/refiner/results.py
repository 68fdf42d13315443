"""Refined maps as files of the kind that the coarse map came in."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spatialprop.files import write_beside
from spatialprop.refiner.arrays import ARRAY_SUFFIXES
from spatialprop.refiner.coarse_file import CoarseFile
from spatialprop.refiner.inputs import InputError

_FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".webp": ("WEBP", {"lossless": True, "exact": True}),
    ".bmp": ("BMP", {}),
}
RESULT_SUFFIXES = (*_FORMATS, *ARRAY_SUFFIXES)


def result_suffix(coarse: Path, kind: str) -> str:
    """What a result is called by default: as the coarse map, if that can hold it without loss."""
    suffix = coarse.suffix.lower()
    return ".png" if kind == "probabilities" or suffix not in RESULT_SUFFIXES else suffix


def check_result(path: Path) -> None:
    """Refuse, before anything is computed, a name whose format would not hold a label map as it is."""
    if path.suffix.lower() not in RESULT_SUFFIXES:
        raise InputError(
            f"a result is written as one of {', '.join(RESULT_SUFFIXES)}, which lose nothing; got {path.name!r}"
        )


def check_holds(path: Path, coarse: CoarseFile) -> None:
    """Refuse, before anything is computed, a name whose format cannot hold what such a coarse map becomes."""
    if path.suffix.lower() in (".webp", ".bmp") and _is_deep(coarse):
        raise InputError(f"{path.suffix} holds no 16-bit values; write the result as {path.stem}.png")
    if coarse.classes is not None and path.suffix.lower() == ".npy":
        raise InputError(
            f"its `classes` say which labels its maps belong to, which .npy cannot hold; call the result "
            f"{path.stem}.npz, or {path.stem}.png for labels"
        )


def _is_deep(coarse: CoarseFile) -> bool:
    labels = coarse.values if coarse.kind == "labels" else coarse.classes
    return (coarse.mode or "").startswith("I") or (labels is not None and int(labels.max()) > 255)


def needs_probabilities(coarse: CoarseFile, path: Path) -> bool:
    """Whether a result of that kind at that place is made of probabilities, not of labels."""
    return coarse.kind == "alpha" or (coarse.kind == "probabilities" and path.suffix.lower() in ARRAY_SUFFIXES)


def write_result(path: Path, coarse: CoarseFile, refined: NDArray[Any], palette: NDArray[np.uint8]) -> None:
    """Write labels (H, W), or the probabilities (K, H, W) that an alpha or an array of probabilities becomes.

    Args:
        path: Its suffix chooses the format.
        coarse: What was read, which chooses the kind.
        refined: What `Refiner` made of `coarse.values`.
        palette: Colours for labels that come without any. (256, 3)
    """
    suffix = path.suffix.lower()
    values = _encode(coarse, refined)
    if suffix in ARRAY_SUFFIXES:
        values = refined if coarse.kind == "colours" else values  # arrays hold labels
        if coarse.dtype is not None:
            values = _as_stored(values, coarse)
        arrays = {coarse.key if coarse.dtype is not None else "labels": values}
        if coarse.classes is not None:
            arrays["classes"] = coarse.classes
        with write_beside(path) as file:
            np.save(file, values) if suffix == ".npy" else np.savez_compressed(file, allow_pickle=False, **arrays)
        return
    write_picture(path, _picture(coarse, values, palette, suffix))


def write_probabilities(path: Path, probabilities: NDArray[np.float32], labels: NDArray[Any] | None = None) -> None:
    """Write probabilities as bytes x 255 under the key `probs`, as this package reads them.

    Args:
        path: An .npz.
        probabilities: (K, H, W).
        labels: The label that each of the K maps belongs to, kept under the key `classes`; by default 0 to K - 1.
    """
    labels = np.arange(len(probabilities)) if labels is None else labels
    with write_beside(path) as file:
        np.savez_compressed(file, probs=np.rint(probabilities * 255).astype(np.uint8), classes=labels)


def check_picture(path: Path) -> None:
    """Refuse, before anything is computed, a name that no picture can have."""
    if path.suffix.lower() not in _FORMATS:
        raise InputError(f"a picture is written as one of {', '.join(_FORMATS)}; got {path.name!r}")


def write_picture(path: Path, picture: Image.Image | NDArray[np.uint8]) -> None:
    """Write an image, whole or not at all."""
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    name, options = _FORMATS[path.suffix.lower()]
    buffer = io.BytesIO()
    picture.save(buffer, format=name, **options)
    with write_beside(path) as file:
        file.write(buffer.getbuffer())


def _encode(coarse: CoarseFile, refined: NDArray[Any]) -> NDArray[Any]:
    """Refined labels in the codes of the file, or an alpha from its two probabilities."""
    if coarse.kind == "alpha":
        share = refined[1]
        if coarse.mode is None:
            return np.asarray(share)
        deep = coarse.mode.startswith("I")
        return np.asarray(np.rint(share * (65535 if deep else 255)), np.uint16 if deep else np.uint8)
    return refined if coarse.codes is None or refined.ndim != 2 else np.asarray(coarse.codes[refined])


def _as_stored(values: NDArray[Any], coarse: CoarseFile) -> NDArray[Any]:
    assert coarse.dtype is not None
    if coarse.dtype == np.uint8 and values.dtype.kind == "f":
        values = np.rint(values * 255)
    result: NDArray[Any] = values.astype(coarse.dtype)
    return result[None] if coarse.single else result


def _picture(coarse: CoarseFile, values: NDArray[Any], palette: NDArray[np.uint8], suffix: str) -> Image.Image:
    if coarse.picture is not None and suffix != ".bmp":
        picture = Image.fromarray(coarse.picture)
        picture.putalpha(Image.fromarray(values))
        return picture
    if coarse.mode is None and values.dtype.kind == "f":
        values = np.rint(values * 255).astype(np.uint8)
    if coarse.mode is None and values.dtype != np.uint8:
        most = int(values.max())
        values = values.astype(np.uint8 if most < 256 else np.uint16)
    if coarse.mode == "1" and suffix != ".webp":
        return Image.fromarray(values).convert("1")
    indexed = coarse.mode == "P" or (coarse.kind == "probabilities" and values.dtype == np.uint8)
    if values.ndim == 2 and indexed and suffix != ".webp":
        picture = Image.fromarray(values)
        # Whole: Pillow would write no more bits than a shorter one needs, and cut what is above.
        picture.putpalette((coarse.palette or palette.tobytes()).ljust(768, b"\0"))
        return picture
    return Image.fromarray(values if suffix != ".webp" or values.ndim == 3 else values[..., None].repeat(3, axis=2))
