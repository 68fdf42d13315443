"""Images, probabilities and label maps from callers, checked and turned into tensors."""

from dataclasses import replace
from numbers import Real
from os import PathLike
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from spatialprop.errors import InputError
from spatialprop.maskfiles import rgb
from spatialprop.refiner.coarse_maps import CoarseMap

ImageLike: TypeAlias = NDArray[Any] | Image.Image | Tensor
CoarseLike: TypeAlias = NDArray[Any] | Tensor
Rough: TypeAlias = float | Literal["auto"]

_INTEGERS = (
    torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64, torch.bool
)  # fmt: skip
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_MOST_LABELS = 65536
_MOST_CLASSES = 4096  # each takes the time of a propagation
_CERTAIN, _NEARLY_ALL = 1 - 1.5 / 255, 0.9999  # what rounding to bytes leaves of 1, and in how much of a map
_SLACK = 1e-3  # above one, as rounding leaves it


def to_image(image: ImageLike, device: torch.device) -> tuple[Tensor, bool]:
    """An image as (N, 3, H, W), uint8 or floats from 0 to 1, and whether it was a batch."""
    _refuse_path(image, "an image")
    if isinstance(image, Tensor):
        pixels = dense(image, "an image")
        if pixels.dim() not in (3, 4) or pixels.shape[-3] != 3:
            raise InputError(f"an image tensor must be (3, H, W) or (N, 3, H, W); got {tuple(image.shape)}")
        batched = pixels.dim() == 4
        pixels = pixels if batched else pixels[None]
    else:
        array = rgb(image) if isinstance(image, Image.Image) else np.asarray(image)
        if array.ndim == 2:
            array = array[..., None].repeat(3, axis=2)
        if array.ndim != 3 or array.shape[2] != 3:
            raise InputError(
                f"an image array must be (H, W, 3), or (H, W) if it is grey; got {array.shape}: {_advice(array.shape)}"
            )
        pixels, batched = _tensor(array, "image").permute(2, 0, 1)[None], False
    if 0 in pixels.shape:
        raise InputError(f"an image must have at least one pixel; got {tuple(image.shape)}")  # type: ignore[union-attr]
    if pixels.dtype == torch.uint8:
        return pixels.to(device), batched
    if pixels.dtype == torch.uint16:
        return pixels.to(device).to(torch.float32) / 65535, batched
    if not pixels.is_floating_point():
        raise InputError(
            f"an image must be uint8, uint16 or floats from 0 to 1; got {pixels.dtype}: convert bytes by "
            f"{'image.to(torch.uint8)' if isinstance(image, Tensor) else 'image.astype(np.uint8)'}"
        )
    _check_range(pixels, "an image of floats", "divide bytes by 255")
    return pixels.to(device, torch.float32), batched


def _advice(shape: tuple[int, ...]) -> str:
    if len(shape) == 3 and shape[2] == 4:
        return "drop an alpha channel by image[..., :3]"
    if len(shape) == 3 and shape[2] == 1:
        return "drop its last axis by image[..., 0]"
    if len(shape) == 3 and shape[0] == 3:
        return "move the channels to the end by np.moveaxis(image, 0, -1), or give a tensor"
    return "batches are tensors (N, 3, H, W)"


def to_coarse(
    coarse: CoarseLike,
    images: Tensor,
    batched: bool,
    classes: int | None = None,
    rough: Rough = "auto",
    restrict: bool = False,
    judges_labels: bool = True,
) -> list[CoarseMap]:
    """The coarse map of each of `images` (N, 3, H, W), on their device.

    Args:
        coarse: What the caller gave.
        images: As `to_image` returns them.
        batched: Whether they were given as a batch, as the coarse maps must be then.
        classes: Number of classes, if the caller named it.
        rough: By how many pixels the borders of labels may be wrong.
        restrict: Leave out the classes that are nowhere the most likely one.
        judges_labels: Whether the network does; without, "auto" believes labels. A map that is certain everywhere is
            one of labels.
    """
    _refuse_path(coarse, "a coarse map")
    if isinstance(coarse, Image.Image):
        raise InputError("a coarse map must be an array or a tensor; got an image: np.asarray(image) has its values")
    values = dense(coarse, "a coarse map") if isinstance(coarse, Tensor) else _tensor(np.asarray(coarse), "coarse map")
    shape = tuple(values.shape)
    if not values.is_floating_point() and values.dtype not in _INTEGERS:
        raise InputError(f"a coarse map must hold floats or integers; got {values.dtype}")
    if 0 in shape:
        raise InputError(f"a coarse map must not be empty; got {shape}")
    if len(shape) not in (2 + batched, 3 + batched):
        wanted = "(N, K, h, w) or (N, H, W), as the image is a batch" if batched else "(K, h, w) or (H, W)"
        raise InputError(f"a coarse map must be probabilities or labels, {wanted}; got {shape}")
    if classes is not None and classes < 1:
        raise InputError(f"classes must be at least 1; got {classes}")
    values = values.to(images.device) if batched else values.to(images.device)[None]
    if values.dim() == 3:
        if values.is_floating_point():
            raise InputError(
                f"a label map must hold integers; got {values.dtype} {shape}: if these are probabilities of a "
                f"foreground, give both classes: np.stack([1 - mask, mask])"
            )
        maps = _label_maps(values, classes)
        _check_together(images, values)
    else:
        shares = _probabilities(values, classes)
        _check_together(images, shares)
        maps = []
        for some in torch.split(shares, 1):
            if _is_certain(some, images):
                maps += _label_maps(some.argmax(dim=1), shares.shape[1])
            else:
                found = CoarseMap(some, range(shares.shape[1]), shares.shape[1])
                maps.append(found.restricted() if restrict else found)
    if rough == "auto":
        return maps if judges_labels else [replace(one, believed=one.are_labels) for one in maps]
    for one in maps:
        _check_rough(rough, one)
    return [one.in_doubt(rough) if rough else replace(one, believed=True) for one in maps]


def _check_together(images: Tensor, values: Tensor) -> None:
    """Refuse images and labels (N, H, W), or probabilities (N, K, h, w), that do not belong together."""
    size, other = tuple(images.shape[-2:]), tuple(values.shape[-2:])
    if len(images) != len(values):
        raise InputError(f"every image needs its coarse map; got {len(images)} images and {len(values)} maps")
    turned = other == size[::-1] and size[0] != size[1]
    hint = "; one of them is turned: has the image an EXIF orientation that the segmenter did not honour?"
    if values.dim() == 3 and other != size:
        raise InputError(
            f"a label map must have the image's size; got a map of {other[1]}x{other[0]} for an image of "
            f"{size[1]}x{size[0]}{hint if turned else ': enlarge it by nearest neighbour, or give probabilities'}"
        )
    if turned:
        raise InputError(f"coarse probabilities of {other[1]}x{other[0]}, an image of {size[1]}x{size[0]}{hint}")


def _is_certain(shares: Tensor, images: Tensor) -> bool:
    """Whether a map (1, K, H, W) has the image's size and is all 0 or 1: it means what labels do."""
    if shares.shape[-2:] != images.shape[-2:]:
        return False
    # For most maps the first row alone decides it. A few pixels that are in doubt make no other map of it.
    for stop, most in ((1, 0.5), (None, _NEARLY_ALL)):
        largest = shares[:, :, :stop].amax(dim=1)
        if float((largest >= _CERTAIN).float().mean()) < most:
            return False
    return bool((largest > 0).all())  # a cell of zeros says nothing


def _check_rough(rough: Rough, maps: CoarseMap) -> None:
    """Refuse `rough` where it is no number of pixels, or given for probabilities."""
    number = isinstance(rough, Real) and not isinstance(rough, bool)
    if not number or not (float(rough) == 0 or 1 <= float(rough) < torch.inf):
        raise InputError(
            f"rough must be 'auto', 0 to believe borders, or a number of pixels from 1 on by which they may be wrong; "
            f"got {rough!r}"
        )
    if not maps.are_labels:
        raise InputError(
            f"rough applies to label maps and masks; got {maps.classes} maps of probabilities, which already say "
            f"where they are in doubt: leave rough out, or give the most likely classes as labels (of a grey picture, "
            f"--kind mask makes those)"
        )


def _label_maps(labels: Tensor, classes: int | None) -> list[CoarseMap]:
    if labels.dtype in (torch.bool, torch.uint16, torch.uint32, torch.uint64):  # for which PyTorch lacks operators
        labels = labels.to(torch.int64 if labels.dtype in (torch.uint32, torch.uint64) else torch.int32)
    least, most = (int(value) for value in labels.aminmax())
    limit = _MOST_LABELS if classes is None else classes
    if least < 0 or most >= limit:
        wrong = least if least < 0 else most
        raise InputError(
            f"a label map must hold classes from 0 to {limit - 1}; got {wrong}: "
            f"give void pixels a class of their own, or correct the number of classes"
        )
    maps = []
    for one in torch.split(labels.to(torch.int32), 1):
        place = torch.zeros(most + 1, dtype=torch.int32, device=labels.device)
        place[one.flatten()] = 1
        present = place.nonzero().flatten().tolist()
        _refuse_many(len(present), "labels that occur")
        place[present] = torch.arange(len(present), dtype=torch.int32, device=labels.device)
        maps.append(CoarseMap(place[one], present, classes or most + 1))
    return maps


def _probabilities(values: Tensor, classes: int | None) -> Tensor:
    if values.shape[1] < 2:
        raise InputError(
            f"coarse probabilities need at least two classes (K, h, w); got {tuple(values.shape)}: for a foreground "
            f"alone give np.stack([1 - mask, mask])"
        )
    _refuse_many(values.shape[1], "maps of probabilities")
    if classes is not None and values.shape[1] != classes:
        raise InputError(f"the coarse map holds {values.shape[1]} classes, where {classes} were announced")
    if values.dtype == torch.uint8:
        shares = values.to(torch.float32) / 255
    elif values.is_floating_point():
        shares = values.to(torch.float32)
        _check_range(shares, "coarse probabilities", "apply softmax over the classes to scores first")
        shares = shares.clamp(0, 1)
    else:
        raise InputError(f"coarse probabilities must be floats from 0 to 1, or uint8 x 255; got {values.dtype}")
    total = shares.sum(dim=1, keepdim=True)
    known = total != 0  # a cell of zeros says nothing
    silent = (~known.flatten(1).any(dim=1)).nonzero().flatten().tolist()
    if silent:
        which = f"of image {silent[0]} " if len(values) > 1 else ""
        raise InputError(f"the coarse map {which}is 0 everywhere: nothing is known, so there is nothing to refine")
    least, most = (float(value) for value in total[known].aminmax())
    # Bytes are rounded or cut off class by class, before they may become floats: with many, much may be missing.
    lowest, highest = min(0.75, 1 - values.shape[1] / 255), max(1.25, min(1 + values.shape[1] / 510, 2.0))
    if not max(lowest, 0.0) < least <= most < highest:
        colours = values.dtype == torch.uint8 and values.shape[-1] in (3, 4)
        raise InputError(
            f"coarse probabilities must sum to one over the classes, which come first: (K, h, w); got "
            f"{tuple(values.shape[1:])} with sums from {least:.3g} to {most:.3g}: "
            + ("colours must be made into labels (H, W) first" if colours else "apply softmax over the classes")
            + ", or move classes to the front by np.moveaxis(coarse, -1, 0)"
        )
    return shares if max(most - 1, 1 - least) < 1e-5 else shares / total.clamp_min(1e-6)


def _refuse_many(count: int, what: str) -> None:
    if count > _MOST_CLASSES:
        raise InputError(
            f"a coarse map may have {_MOST_CLASSES} classes at once, each of which is propagated by itself; got "
            f"{count} {what}: is it a map of instances, or of numbers that are no classes? Refine it in parts"
        )


def dense(tensor: Tensor, what: str) -> Tensor:
    """A tensor without its history, refused if operators cannot compute with it."""
    if tensor.is_nested or tensor.layout != torch.strided or tensor.is_meta:
        kind = "nested" if tensor.is_nested else "meta" if tensor.is_meta else str(tensor.layout)
        raise InputError(f"{what} must be a dense tensor with values; got a {kind} one: give tensor.to_dense()")
    if tensor.dtype not in (*_INTEGERS, *_FLOATS):
        raise InputError(f"{what} must hold floats of 16 to 64 bits or integers; got {tensor.dtype}: convert it")
    return tensor.detach()


def _refuse_path(given: object, what: str) -> None:
    if isinstance(given, (str, bytes, PathLike)):
        raise InputError(f"{what} must be an array, got the path {given!r}: np.asarray(PIL.Image.open(path)) reads it")


def _check_range(values: Tensor, what: str, fix: str) -> None:
    least, most = (float(value) for value in values.aminmax())
    if not (least >= -1e-6 and most <= 1 + _SLACK):  # NaN fails too
        raise InputError(f"{what} must be from 0 to 1; got values from {least:.3g} to {most:.3g}: {fix}")


def _tensor(array: NDArray[Any], what: str) -> Tensor:
    if array.dtype.kind not in "buif" or array.dtype.itemsize > 8:
        raise InputError(f"the {what} must hold numbers of at most 64 bits; got dtype {array.dtype}: convert it")
    native = array.dtype.newbyteorder("=")
    array = np.ascontiguousarray(array, np.int64 if native == np.uint64 else native)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def like(result: Tensor, given: CoarseLike, batched: bool) -> Any:
    """Return results (N, ...) as a tensor or an array, as the coarse map was given; labels in the type they had."""
    result = result if batched else result[0]
    labels = not result.is_floating_point()
    if isinstance(given, Tensor):
        keeps = labels and given.dtype in _INTEGERS and given.dim() == result.dim()
        return result.to(given.dtype) if keeps else result
    array = np.asarray(given)
    found = result.cpu().numpy()
    return found.astype(array.dtype) if labels and array.dtype.kind in "bui" and array.ndim == found.ndim else found
