"""A picture of the pixels that one pixel depends on."""

import numpy as np
from PIL import Image

from spatialprop.drawing import pale, relative_affinity, ring, side_by_side, tint_by_affinity
from spatialprop.errors import InputError
from spatialprop.maskfiles import rgb
from spatialprop.refiner.inputs import CoarseLike, ImageLike
from spatialprop.refiner.refiner import Refiner


def explain(refiner: Refiner, image: ImageLike, coarse: CoarseLike | None, pixel: tuple[int, int]) -> Image.Image:
    """Draw the affinity of a pixel: red where it takes from others, blue where their weight is negative.

    Args:
        refiner: Whose affinities.
        image: An array (H, W, 3) of bytes or a PIL image.
        coarse: The map to refine; None counts all directions alike.
        pixel: Row and column.

    Example:
        >>> from spatialprop.nn import RefinementNetwork
        >>> from spatialprop.nn.guidance import LightGuidance
        >>> refiner = Refiner(RefinementNetwork(LightGuidance))
        >>> explain(refiner, np.zeros((48, 64, 3), np.uint8), None, (20, 30)).mode
        'RGB'
    """
    pixels = rgb(image) if isinstance(image, Image.Image) else np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3:
        raise InputError(f"a picture is drawn over an image (H, W, 3) of bytes; got {pixels.dtype} {pixels.shape}")
    affinity = relative_affinity(np.asarray(refiner.affinity(pixels, coarse, pixel)))
    panels = {
        f"image, pixel ({pixel[0]}, {pixel[1]})": pixels,
        "what it depends on": tint_by_affinity(pale(pixels), affinity, 0.9),
        "relative to the strongest; square root": tint_by_affinity(np.full(pixels.shape, 255.0), affinity),
    }
    return side_by_side([(title, ring(panel, pixel)) for title, panel in panels.items()])
