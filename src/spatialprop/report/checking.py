"""What the files of a run may hold: pages are drawn from folders that others send."""

import json
import math
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LARGEST = 1 << 29  # bytes of a file's arrays
_LARGEST_TEXT = 1 << 26  # bytes of any other file
_DEEPEST = 16
_NUMBER, _COUNT = "a number or null", "a whole number from 0 on"
_RADIUS = re.compile(r"[0-9]{1,4}")
_SIZES = re.compile(r"[0-9]{1,9}(-[0-9]{0,9})?")  # of regions, from and to
_CHANGES = {"changed": _NUMBER, "right": _NUMBER, "wrong": _NUMBER}
_QUESTION = {"share": _NUMBER, "precision": _NUMBER, "recall": _NUMBER, "F1": _NUMBER, "average_precision": _NUMBER}
_PLACE = {"same": _QUESTION, "different": _QUESTION}
_EFFECTS = ("pixels", "wrong", "wrong_in_small_regions", "mended", "broken", "border_pairs", "border_pairs_seen")
# A tuple of one stands for a list of such, {...: x} for an object of such under any names, {_RADIUS: x} under numbers.
_SCORES: dict[str, Any] = {
    **dict.fromkeys(("mIoU", "pixel_accuracy", "mean_accuracy", "boundary_IoU", "milliseconds"), _NUMBER),
    "per_class_IoU": (_NUMBER,),
    "trimap_IoU": {_RADIUS: _NUMBER},
    "changes": _CHANGES,
    "helen": {...: {...: _NUMBER}},
    "affinity": {_RADIUS: {"all": _PLACE, "near_border": _PLACE}},
    "images": dict.fromkeys(_EFFECTS, (_COUNT,)),
    "error_regions": {_SIZES: {"regions": _COUNT, "before": _COUNT, "after": _COUNT}},
    "steps": {_RADIUS: {"mIoU": _NUMBER, **_CHANGES}},
    "cost": {"size": (_COUNT,), **{key: {...: _NUMBER} for key in ("parameters", "FLOPs", "milliseconds")}},
}
_MASKS = ("label", "coarse", "refined", "coarse_object", "refined_object", "missed")


def read_text(path: Path, errors: str = "strict") -> str:
    """The text of a file of a run; of what is no file, or larger than any that a run writes, a ValueError says so."""
    if not path.is_file():
        raise ValueError("is not a file")
    if path.stat().st_size > _LARGEST_TEXT:
        raise ValueError(f"has {path.stat().st_size} bytes, at most {_LARGEST_TEXT} are read")
    return path.read_text(encoding="utf-8", errors=errors)


def parsed(text: str) -> dict[str, Any]:
    """A JSON object whose every text can be written; of anything else a ValueError says what it is."""
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"holds a {type(content).__name__}; it must be an object")
    check_texts(content)
    return content


def checked(metrics: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Scores by method, refused if they are not as `metrics.json` has them; unknown scores may be anything.

    A list or an object that is null counts as left out, and a number that is left out as null.
    """
    kept: dict[str, dict[str, Any]] = {}
    for method, scores in metrics.items():
        if not isinstance(scores, dict):
            raise ValueError(f"it must hold an object of scores for each method; got {_short(scores)} for {method}")
        kept[method] = {key: value for key, value in scores.items() if value is not None or _SCORES.get(key) == _NUMBER}
        for key, rule in _SCORES.items():
            if key in kept[method]:
                kept[method][key] = _complete(scores[key], rule, f"{method}.{key}")
        if len({len(counts) for counts in kept[method].get("images", {}).values()}) > 1:
            raise ValueError(f"{method}.images must hold lists of one length, a number for each image")
    return kept


def check_name(name: str, folder: Path) -> None:
    """Refuse a name that leads anywhere but to a folder in `folder`, through a link or not."""
    if "\0" in name or "\\" in name or (folder / name).resolve().parent != folder.resolve():
        raise ValueError(f"names {_short(name)}, which is not the name of a folder beside it")


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an example, each of the type and the size that is drawn."""
    if not path.is_file():
        raise ValueError("it is not a file")
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > _LARGEST:
        raise ValueError(f"its arrays have {size} bytes, at most {_LARGEST} are read")
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        arrays = dict(stored)
    shape = next((array.shape[:2] for name, array in arrays.items() if name in ("image", *_MASKS)), ())
    for name, array in arrays.items():
        if name in _MASKS or name.startswith("method_"):
            fits = array.dtype == np.uint8 and array.shape == shape and min(shape, default=0) > 0
        elif name == "image":
            fits = array.dtype == np.uint8 and array.shape == (*shape, 3) and min(shape, default=0) > 0
        elif name == "where":
            fits = array.dtype == bool and array.shape == shape
        elif name == "affinity":
            fits = array.dtype.kind == "f" and array.shape == shape and bool(np.isfinite(array).all())
        elif name == "pixel":
            fits = array.dtype.kind in "iu" and array.shape == (2,) and _inside(array, shape)
        elif array.shape == ():  # such as the gain
            fits = array.dtype.kind in "biuf" and bool(np.isfinite(array))
        else:
            fits = array.dtype.kind in "biuf"
        if not fits:
            raise ValueError(f"its array {_short(name)} is {array.dtype} {array.shape}, and not what a run writes")
    return arrays


def _inside(pixel: NDArray[Any], shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and all(0 <= int(place) < side for place, side in zip(pixel, shape, strict=True))


def _complete(value: Any, rule: Any, where: str) -> Any:
    """The value with all that its rule names, refused if it breaks the rule."""
    if isinstance(rule, tuple):
        if not isinstance(value, list):
            raise ValueError(f"{where} must be a list; got {_short(value)}")
        return [_complete(one, rule[0], f"{where}[{index}]") for index, one in enumerate(value)]
    if isinstance(rule, dict):
        if not isinstance(value, dict):
            raise ValueError(f"{where} must be an object; got {_short(value)}")
        rules = _rules(value, rule, where)
        return value | {name: _complete(value.get(name), one, f"{where}.{name}") for name, one in rules}
    if not _is_number(value, rule):
        raise ValueError(f"{where} must be {rule}; got {_short(value)}")
    return value


def _rules(value: Mapping[str, Any], rule: Mapping[Any, Any], where: str) -> Iterator[tuple[str, Any]]:
    [first, *_] = rule
    if isinstance(first, str):
        yield from rule.items()
        return
    for name in value:
        if isinstance(first, re.Pattern) and not first.fullmatch(name):
            raise ValueError(f"{where} must have whole numbers as names; got {_short(name)}")
        yield name, rule[first]


def _is_number(value: Any, rule: str) -> bool:
    if rule == _COUNT:
        return type(value) is int and 0 <= value < 1 << 62
    if value is None:
        return True
    return (type(value) is int and abs(value) < 1 << 62) or (type(value) is float and not math.isinf(value))


def check_texts(node: Any, depth: int = 0) -> None:
    """Refuse nested values with a text that cannot be written, or nested too deeply."""
    if depth > _DEEPEST:
        raise ValueError("is nested too deeply")
    if isinstance(node, str):
        try:
            node.encode()
        except UnicodeEncodeError:
            raise ValueError(f"holds half a character in {node!a}") from None
    elif isinstance(node, dict | list):
        for part in [*node, *node.values()] if isinstance(node, dict) else node:
            check_texts(part, depth + 1)


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
