"""COCO instance annotations: polygons and run lengths."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spatialprop.errors import InputError, needs_extra, reading
from spatialprop.formats.instances import RefineMask, refine_instance
from spatialprop.formats.polygons import outlines
from spatialprop.maskfiles import read_image

LARGEST_FILE = 4 << 30  # bytes
MOST_PIXELS = 1 << 26
_LONGEST_OUTLINE = 1 << 22  # pixels; the codec takes some 150 bytes for each


class CocoOutcome(NamedTuple):
    """What became of the annotations of one image.

    Attributes:
        name: The image's file name.
        refined, kept: How many annotations were refined, and how many stay as they were: crowds, and objects of which
            nothing would be left.
        changed: Pixels that changed.
        pixels: Of the image.
        problem: Why none was refined.
    """

    name: str
    refined: int = 0
    kept: int = 0
    changed: int = 0
    pixels: int = 0
    problem: str = ""


def read_coco(path: Path) -> dict[str, Any]:
    """Read annotations, and check what refinement looks at."""
    with reading(path, "COCO annotations", "export it again"):
        if path.stat().st_size > LARGEST_FILE:
            raise InputError(f"it has {path.stat().st_size >> 20} MiB; at most {LARGEST_FILE >> 20} are read")
        try:
            found = json.loads(path.read_bytes())
        except RecursionError:
            raise InputError("it is nested too deeply") from None
        if not isinstance(found, dict) or not all(_are_objects(found.get(key)) for key in ("images", "annotations")):
            raise InputError("it must be an object with the lists `images` and `annotations`, as instances_*.json have")
        for image in found["images"]:
            _check_image(image)
        known = {image["id"] for image in found["images"]}
        if len(known) != len(found["images"]):
            raise InputError("two of its images have one id")
        for annotation in found["annotations"]:
            if not _is_id(annotation.get("image_id")) or annotation["image_id"] not in known:
                raise InputError(
                    f"annotation {annotation.get('id')!r} belongs to image {annotation.get('image_id')!r}, "
                    f"which is not among its images"
                )
        return found


def refine_coco(
    content: dict[str, Any], folder: Path, refine: RefineMask, wanted: Callable[[str], bool] = lambda name: True
) -> Iterator[CocoOutcome]:
    """Refine the annotations in place, image by image, and yield what became of each image.

    Ids, categories and all other fields stay; `segmentation` stays a polygon or run lengths, as it was; `area` and
    `bbox` are computed anew. Crowds are left alone. Overlapping objects are refined each for itself.

    Args:
        content: What `read_coco` gave.
        folder: Where the images are.
        refine: Refines a window of an image and a mask.
        wanted: Whether the image of a file name is to be looked at.
    """
    codec = _codec()
    by_image: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for annotation in content["annotations"]:
        by_image[annotation["image_id"]].append(annotation)
    for image in content["images"]:
        name = image["file_name"]
        if wanted(name) and by_image[image["id"]]:
            try:
                yield _refine_image(image, by_image[image["id"]], folder, refine, codec)
            except (InputError, OSError) as error:
                yield CocoOutcome(name, problem=str(error) if name in str(error) else f"{name}: {error}")


def _refine_image(
    image: Mapping[str, Any], annotations: list[dict[str, Any]], folder: Path, refine: RefineMask, codec: Any
) -> CocoOutcome:
    path = folder / image["file_name"]
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{image['file_name']} lies outside of {folder}")
    pixels = read_image(path, MOST_PIXELS)
    height, width = pixels.shape[:2]
    if (height, width) != (image["height"], image["width"]):
        raise InputError(
            f"{path} has {width}x{height} pixels, the annotations say {image['width']}x{image['height']}: "
            f"give the images that were annotated"
        )
    masks = [None if one.get("iscrowd") else _decode(one, height, width, codec) for one in annotations]  # all or none
    refined = changed = 0
    for annotation, mask in zip(annotations, masks, strict=True):
        found = None if mask is None else refine_instance(pixels, mask, refine)
        if mask is None or found is None:
            continue
        refined, changed = refined + 1, changed + int((found != mask).sum())
        encoded = codec.encode(np.asfortranarray(found))
        annotation["segmentation"] = _like(annotation["segmentation"], found, encoded)
        annotation["area"] = float(codec.area(encoded))
        annotation["bbox"] = [float(value) for value in codec.toBbox(encoded)]
    return CocoOutcome(image["file_name"], refined, len(annotations) - refined, changed, height * width)


def _decode(annotation: Mapping[str, Any], height: int, width: int, codec: Any) -> NDArray[np.uint8] | None:
    """The mask of an annotation, None for a box without one."""
    given = annotation.get("segmentation")
    if given is None or given == []:
        return None
    where = f"the segmentation of annotation {annotation.get('id')!r}"
    if isinstance(given, list):
        for ring in given:
            if not isinstance(ring, list) or len(ring) < 6 or len(ring) % 2 or not all(map(_is_coordinate, ring)):
                raise InputError(f"{where} must be polygons [x, y, x, y, x, y, ...] of finite numbers")
        length = sum(_length(ring) for ring in given)
        if length > _LONGEST_OUTLINE:
            raise InputError(f"{where} has an outline of {length:.0f} pixels; at most {_LONGEST_OUTLINE} are drawn")
        return np.asarray(codec.decode(codec.merge(codec.frPyObjects(given, height, width))), np.uint8)
    if not isinstance(given, dict) or given.get("size") != [height, width]:
        raise InputError(f"{where} must be polygons, or run lengths of the size [{height}, {width}]")
    counts = given.get("counts")
    runs = _runs(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs):
        raise InputError(f"{where} has run lengths that are none")
    if sum(runs) != height * width:  # the codec would read or write beyond its memory
        raise InputError(f"{where} has run lengths of {sum(runs)} pixels, its image has {height * width}")
    flat = np.repeat(np.arange(len(runs), dtype=np.int64) % 2, runs).astype(np.uint8)
    return flat.reshape((height, width), order="F")


def _length(ring: list[float]) -> float:
    """How many pixels the closed line of a polygon has."""
    corners = np.reshape(ring, (-1, 2))
    return float(np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1).sum())


def _runs(text: str) -> list[int] | None:
    """Run lengths out of COCO's compressed text: 5 bits a letter, from the third run on as differences."""
    runs: list[int] = []
    value = shift = 0
    for letter in text.encode("ascii", "replace"):
        bits = letter - 48
        if not 0 <= bits < 64 or shift > 60:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs if shift == 0 else None


def _like(given: Any, mask: NDArray[np.uint8], encoded: Mapping[str, Any]) -> Any:
    """A segmentation in the form that the given one has."""
    if isinstance(given, list):
        return [[float(value) for corner in ring for value in corner] for ring in outlines(mask)]
    size = [int(side) for side in encoded["size"]]
    if isinstance(given["counts"], str):
        return {**given, "size": size, "counts": encoded["counts"].decode("ascii")}
    flat = mask.ravel(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()
    return {**given, "size": size, "counts": [0, *runs] if flat[0] else runs}


def _codec() -> Any:
    with needs_extra("COCO annotations need pycocotools", "coco"):
        return import_module("pycocotools.mask")


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def _check_image(image: Mapping[str, Any]) -> None:
    sides = [image.get(side) for side in ("height", "width")]
    if not _is_id(image.get("id")) or not _is_file_name(image.get("file_name")):
        raise InputError(f"its image {image.get('id')!r} needs an id and a file_name")
    if not all(type(side) is int and side > 0 for side in sides):
        raise InputError(f"its image {image['id']!r} needs a height and a width; got {sides[0]!r} and {sides[1]!r}")


def _is_id(value: Any) -> bool:
    return isinstance(value, (int, str))


def _is_file_name(value: Any) -> bool:
    whole = isinstance(value, str) and value.encode(errors="ignore").decode() == value  # no halves of letters
    return whole and "\0" not in value


def _is_coordinate(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e6  # NaN fails too
