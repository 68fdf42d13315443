"""Pictures and masks in files: read for the refiner and for training, and written back as what they were."""

from spatialprop.maskfiles.arrays import ARRAY_SUFFIXES, read_probabilities, write_arrays
from spatialprop.maskfiles.kinds import (
    RESULT_SUFFIXES,
    CoarseFile,
    Colours,
    Labels,
    Mask,
    Probabilities,
    Refined,
    SoftMask,
)
from spatialprop.maskfiles.palette import Palette, read_palette
from spatialprop.maskfiles.pictures import (
    IMAGE_SUFFIXES,
    check_picture,
    open_picture,
    read_image,
    read_image_size,
    read_indices,
    rgb,
    upright,
    write_picture,
)
from spatialprop.maskfiles.reading import read_coarse
from spatialprop.maskfiles.trimaps import as_trimap, band_around, check_trimap, read_trimap

__all__ = [
    "ARRAY_SUFFIXES",
    "IMAGE_SUFFIXES",
    "RESULT_SUFFIXES",
    "CoarseFile",
    "Colours",
    "Labels",
    "Mask",
    "Palette",
    "Probabilities",
    "Refined",
    "SoftMask",
    "as_trimap",
    "band_around",
    "check_picture",
    "check_trimap",
    "open_picture",
    "read_coarse",
    "read_image",
    "read_image_size",
    "read_indices",
    "read_palette",
    "read_probabilities",
    "read_trimap",
    "rgb",
    "upright",
    "write_arrays",
    "write_picture",
]
