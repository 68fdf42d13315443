"""One object at a time, in its own surroundings."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

RefineMask: TypeAlias = Callable[[NDArray[np.uint8], NDArray[Any]], NDArray[Any]]  # image (H, W, 3) and labels
_SURROUNDINGS = 0.5  # of the object's longer side, on each side
_LEAST = 48  # pixels


def refine_instance(image: NDArray[np.uint8], mask: NDArray[np.uint8], refine: RefineMask) -> NDArray[np.uint8] | None:
    """Refine the mask of one object within a window around it. (H, W)

    Args:
        image: (H, W, 3).
        mask: 1 where the object is. (H, W)
        refine: Takes a window of both, gives the refined mask.

    Returns:
        The mask, or None if nothing was or is left of the object.
    """
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return None
    margin = max(_LEAST, int(_SURROUNDINGS * max(np.ptp(rows), np.ptp(columns))))
    window = tuple(
        slice(max(0, int(found[0]) - margin), min(size, int(found[-1]) + 1 + margin))
        for found, size in zip((rows, columns), mask.shape, strict=True)
    )
    refined = np.zeros_like(mask)
    refined[window] = refine(np.ascontiguousarray(image[window]), np.ascontiguousarray(mask[window]))
    return refined if refined.any() else None
