"""Refined maps as files of the kind that the coarse map came in."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spatialprop.files import write_beside
from spatialprop.maskfiles.arrays import ARRAY_SUFFIXES, write_arrays
from spatialprop.maskfiles.coarse_file import CoarseFile
from spatialprop.refiner.inputs import InputError

_FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".webp": ("WEBP", {"lossless": True, "exact": True}),
    ".bmp": ("BMP", {}),
}
_NAMES = {"probabilities": "probs", "alpha": "alpha"}  # of arrays that had none; all others hold labels
_WIDEST_WEBP = 16383
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


def check_holds(path: Path, coarse: CoarseFile, size: tuple[int, ...]) -> None:
    """Refuse, before anything is computed, a name whose format cannot hold what becomes of a coarse map.

    Args:
        path: The result.
        coarse: What was read.
        size: Height and width of the image, and so of the result.
    """
    if path.suffix.lower() == ".webp" and max(size) > _WIDEST_WEBP:
        raise InputError(
            f".webp holds at most {_WIDEST_WEBP} pixels a side; got {size[1]}x{size[0]}: write the result as "
            f"{path.stem}.png"
        )
    if path.suffix.lower() in (".webp", ".bmp") and _is_deep(coarse):
        raise InputError(f"{path.suffix} holds no 16-bit values; write the result as {path.stem}.png")
    if coarse.classes is not None and path.suffix.lower() == ".npy":
        raise InputError(
            f"its `classes` say which labels its maps belong to, which .npy cannot hold; call the result "
            f"{path.stem}.npz, or {path.stem}.png for labels"
        )


def _is_deep(coarse: CoarseFile) -> bool:
    labels = coarse.kind in ("labels", "probabilities") and coarse.largest > 255
    return (coarse.mode or "").startswith("I") or labels


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
    if path.suffix.lower() in ARRAY_SUFFIXES:
        write_arrays(path, _arrays(coarse, refined))
    else:
        write_picture(path, _picture(coarse, _encode(coarse, refined), palette, path.suffix.lower()))


def write_probabilities(path: Path, probabilities: NDArray[np.float32], labels: NDArray[Any] | None = None) -> None:
    """Write probabilities as bytes x 255 under the key `probs`, as this package reads them.

    Args:
        path: An .npz.
        probabilities: (K, H, W).
        labels: The label that each of the K maps belongs to, kept under the key `classes`; by default 0 to K - 1.
    """
    labels = np.arange(len(probabilities)) if labels is None else labels
    write_arrays(path, {"probs": np.rint(probabilities * 255).astype(np.uint8), "classes": labels})


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


def _arrays(coarse: CoarseFile, refined: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The arrays of a result and their names, the map first."""
    if coarse.dtype is not None:
        values = _as_stored(_encode(coarse, refined), coarse)
    elif coarse.kind == "alpha":
        values = refined[1]
    else:  # colours would need a palette beside them
        values = refined if coarse.kind == "colours" else _encode(coarse, refined)
    arrays = {coarse.key or _NAMES.get(coarse.kind, "labels"): values}
    return arrays if coarse.classes is None else {**arrays, "classes": coarse.classes}


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
        picture.putpalette((coarse.palette or palette.tobytes())[:768].ljust(768, b"\0"))
        if coarse.transparency is not None:
            picture.info["transparency"] = coarse.transparency
        return picture
    return Image.fromarray(values if suffix != ".webp" or values.ndim == 3 else values[..., None].repeat(3, axis=2))
