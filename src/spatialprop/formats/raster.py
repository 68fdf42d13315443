"""GeoTIFF and other georeferenced rasters, window by window."""

import math
import secrets
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spatialprop.errors import InputError, needs_extra
from spatialprop.formats.instances import RefineMask
from spatialprop.memory import refuse_too_much

TILE, MARGIN = 1024, 192  # pixels; what lies beyond the margin is not looked at
CACHE = 256  # MiB, of GDAL
_GREY, _RGB = 1, 3
_SMALL, _DENSEST = 1 << 24, 10_000  # pixels, and pixels a byte
_SAMPLE = 1024  # pixels a side of what is looked at to find the range of values


class RasterOutcome(NamedTuple):
    """How many windows were refined of how many, and how many pixels changed of how many."""

    refined: int
    windows: int
    changed: int
    pixels: int


def refine_raster(image: Path, mask: Path, output: Path, refine: RefineMask) -> Iterator[RasterOutcome]:
    """Refine the label map of a raster that need not fit into memory, and write a GeoTIFF with its georeference.

    Windows of 1024 pixels are refined with what lies around them; windows of a single label are copied. Pixels without
    data stay so. The result replaces `output` once it is complete.

    Args:
        image: One band or at least three, of which the first three are red, green and blue. Bytes are taken as they
            are; of other numbers the range from the 2nd to the 98th percentile is.
        mask: Labels on the same grid, one band of integers from 0 to 65535.
        output: Where to, `.tif`.
        refine: Refines a window of an image and a mask.

    Yields:
        What has been done so far, after each window.
    """
    rasterio = _rasterio()
    if output.suffix.lower() not in (".tif", ".tiff"):
        raise InputError(f"a raster is written as .tif; got {output.name!r}")
    for path in (image, mask):
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist")
        if output.resolve() == path.resolve():
            raise InputError(f"{output} would replace an input; choose another place")
    output.parent.mkdir(parents=True, exist_ok=True)
    beside = output.with_name(f".{secrets.token_hex(8)}.part.tif")
    try:
        with ExitStack() as stack:
            stack.enter_context(rasterio.Env(GDAL_CACHEMAX=CACHE))
            picture, labels = (stack.enter_context(_opened(rasterio, path)) for path in (image, mask))
            _check(picture, labels, image, mask)
            profile = {
                "driver": "GTiff", "width": labels.width, "height": labels.height, "count": 1,
                "dtype": labels.dtypes[0], "crs": labels.crs, "transform": labels.transform, "nodata": labels.nodata,
                "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "bigtiff": "if_safer",
            }  # fmt: skip
            result = stack.enter_context(rasterio.open(beside, "w", **profile))
            if labels.colorinterp[0].name == "palette":
                result.write_colormap(1, labels.colormap(1))
            result.update_tags(**labels.tags())
            sums: list[int] = []
            yield from _refine(rasterio, picture, labels, result, refine, sums)
        if not _holds(rasterio, beside, sums):
            raise OSError(f"{output} cannot be written: not all of it comes back from the disk, which may be full")
        beside.replace(output)
    except rasterio.errors.RasterioError as error:
        raise InputError(f"{image} and {mask}: {error}; replace what is damaged") from None
    finally:
        beside.unlink(missing_ok=True)


def _holds(rasterio: Any, path: Path, sums: list[int]) -> bool:
    """Whether a file holds what was written: GDAL says nothing of what it cannot write when it closes a file."""
    try:
        with rasterio.open(path, driver="GTiff") as file:
            windows = _windows(*file.shape)
            return sums == [_sum(file.read(1, window=_window(rasterio, *place))) for place in windows]
    except rasterio.errors.RasterioError:
        return False


def _sum(values: NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(values).data)


def _windows(height: int, width: int) -> list[tuple[int, int, int, int]]:
    """Top, left, bottom and right of each window."""
    corners = ((top, left) for top in range(0, height, TILE) for left in range(0, width, TILE))
    return [(top, left, min(top + TILE, height), min(left + TILE, width)) for top, left in corners]


def _refine(
    rasterio: Any, picture: Any, labels: Any, result: Any, refine: RefineMask, sums: list[int]
) -> Iterator[RasterOutcome]:
    """Refine and write window by window, and put a checksum of each into `sums`."""
    bands = [1, 2, 3] if picture.count >= _RGB else [1]
    low, high = _range(rasterio, picture, bands)
    height, width = labels.shape
    windows = _windows(height, width)
    refined = changed = 0
    for top, left, bottom, right in windows:
        above, before = max(0, top - MARGIN), max(0, left - MARGIN)
        window = _window(rasterio, above, before, min(bottom + MARGIN, height), min(right + MARGIN, width))
        given = labels.read(1, window=window)
        inner = (slice(top - above, bottom - above), slice(left - before, right - before))
        missing = np.zeros(given.shape, bool) if labels.nodata is None else given == labels.nodata
        present = np.unique(given[~missing])
        found = given[inner]
        if len(present) > 1:
            if int(present[0]) < 0 or int(present[-1]) > 65535:
                raise InputError(f"labels go from 0 to 65535; got {present[0]} to {present[-1]}")
            colours = _colours(picture.read(bands, window=window), low, high)
            # Where there is no label, any one does: it is written over.
            places = np.searchsorted(present, np.where(missing, present[0], given)).astype(np.uint16)
            new = present[np.asarray(refine(colours, places))].astype(given.dtype)
            found = np.where(missing, given, new)[inner]
            refined, changed = refined + 1, changed + int((found != given[inner]).sum())
        result.write(found, 1, window=_window(rasterio, top, left, bottom, right))
        sums.append(_sum(found))
        yield RasterOutcome(refined, len(windows), changed, height * width)


def _check(picture: Any, labels: Any, image: Path, mask: Path) -> None:
    pixels, size = math.prod(picture.shape), image.stat().st_size
    if pixels > max(_SMALL, _DENSEST * size):  # the result's table of tiles alone would fill the memory
        raise InputError(f"{image} claims {picture.width}x{picture.height} pixels in {size} bytes, so it holds nothing")
    blocks = [(raster, math.prod(raster.block_shapes[0])) for raster in (picture, labels)]
    refuse_too_much(
        sum(block * raster.count * np.dtype(raster.dtypes[0]).itemsize for raster, block in blocks),
        f"a block of {image} and one of {mask}",
        "store them in tiles (gdal_translate -co TILED=YES)",
    )
    if picture.count == 2:
        raise InputError(f"{image} has 2 bands; a picture has one, or at least red, green and blue")
    if np.dtype(picture.dtypes[0]).kind not in "uif":
        raise InputError(f"{image} holds {picture.dtypes[0]}; a picture holds whole numbers or floats")
    if labels.count != 1 or np.dtype(labels.dtypes[0]).kind not in "ui":
        raise InputError(
            f"{mask} has {labels.count} bands of {labels.dtypes[0]}; a label map has one band of whole numbers"
        )
    if picture.shape != labels.shape:
        raise InputError(
            f"{image} has {picture.width}x{picture.height} pixels, {mask} has {labels.width}x{labels.height}: bring "
            f"them to one grid (gdalwarp)"
        )
    grids = picture.crs == labels.crs and picture.transform.almost_equals(labels.transform, 1e-6)
    if picture.crs and labels.crs and not grids:
        raise InputError(f"{image} and {mask} lie at different places of the earth: bring them to one grid (gdalwarp)")


def _range(rasterio: Any, picture: Any, bands: list[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What is shown as black and as white, for each band. (bands, 1, 1)"""
    if picture.dtypes[0] == "uint8":
        return np.zeros((len(bands), 1, 1), np.float32), np.full((len(bands), 1, 1), 255, np.float32)
    shape = (len(bands), min(_SAMPLE, picture.height), min(_SAMPLE, picture.width))
    sample = picture.read(bands, out_shape=shape).astype(np.float32)
    sample[~np.isfinite(sample)] = np.nan
    if picture.nodata is not None:
        sample[sample == picture.nodata] = np.nan
    if np.isnan(sample).all(axis=(1, 2)).any():
        raise InputError("a band of the picture has no data")
    low, high = np.nanpercentile(sample, (2, 98), axis=(1, 2), keepdims=True).astype(np.float32)
    return low, np.maximum(high, low + 1e-6)


def _colours(bands: NDArray[Any], low: NDArray[np.float32], high: NDArray[np.float32]) -> NDArray[np.uint8]:
    if bands.dtype != np.uint8:
        shares = np.nan_to_num((bands.astype(np.float32) - low) / (high - low)).clip(0, 1)
        bands = np.rint(255 * shares).astype(np.uint8)
    bands = bands if len(bands) == _RGB else bands.repeat(_RGB, axis=0)
    return np.ascontiguousarray(np.moveaxis(bands, 0, -1))


def _window(rasterio: Any, top: int, left: int, bottom: int, right: int) -> Any:
    return rasterio.windows.Window(left, top, right - left, bottom - top)


def _opened(rasterio: Any, path: Path) -> Any:
    try:
        found = rasterio.open(path, driver="GTiff")
        if found.tags(ns="OVERVIEWS"):  # they name a file of any kind, or an address, that would be opened
            found.close()
            found = rasterio.open(path, driver="GTiff", OVERVIEW_LEVEL="NONE")
    except rasterio.errors.RasterioError as error:
        raise InputError(f"{path} cannot be read as a GeoTIFF: {error}") from None
    if math.prod(found.shape) == 0:
        raise InputError(f"{path} is empty")
    return found


def _rasterio() -> Any:
    with needs_extra("GeoTIFF needs rasterio", "geo"):
        import_module("rasterio.windows")
        return import_module("rasterio")
