"""What is known of a coarse map that was read from a file, and what pictures and arrays alike are made into."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST_LEVELS = 64  # that are still taken for classes


@dataclass(frozen=True)
class CoarseFile:
    """What a file holds, and what it takes to write a result of the same kind.

    Attributes:
        values: Labels (H, W), probabilities (K, h, w) or, for an alpha, those of ground and object (2, H, W).
        kind: "labels", "mask", "alpha", "colours", or "probabilities".
        codes: What the file writes for label 0, 1, ...: grey levels, or colours (K, 3); None if labels are as they are.
        mode: Pillow's mode of the file, None for arrays.
        palette: Colours of a palette file, as bytes.
        transparency: What of such a file is transparent, as Pillow has it.
        dtype: Type of an array's numbers.
        key: Name of the array in an .npz, None if it had none.
        classes: Labels that the maps of probabilities belong to (K,); None for 0 to K - 1.
        single: Whether it came as an array (1, H, W).
        picture: What is beneath an alpha channel, colours (H, W, 3) or grey (H, W).
    """

    values: NDArray[Any]
    kind: str
    codes: NDArray[Any] | None = None
    mode: str | None = None
    palette: bytes | None = None
    transparency: bytes | int | None = None
    dtype: np.dtype[Any] | None = None
    key: str | None = None
    classes: NDArray[Any] | None = None
    single: bool = False
    picture: NDArray[np.uint8] | None = field(default=None, repr=False)

    @property
    def largest(self) -> int:
        """The largest label that may come out, by the numbers of `values` or, where there are some, of `classes`."""
        if self.classes is not None:
            return int(self.classes.max())
        return int(self.values.max()) if self.values.ndim == 2 else len(self.values) - 1


def two_levels(levels: NDArray[Any], full: float) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Dark as 0 and bright as 1, and what the file calls the two.

    Args:
        levels: Any numbers. (H, W)
        full: The brightest that there can be, which tells what a map of one level is.

    Example:
        >>> two_levels(np.array([[0, 7], [90, 100]]), 255)
        (array([[0, 0],
               [1, 1]], dtype=uint8), array([  0, 100]))
    """
    least, most = levels.min().item(), levels.max().item()
    cut = (least + most) / 2 if most > least else full / 2
    codes = [0, full] if most == full else [least, most]
    return (levels > cut).astype(np.uint8), np.array(codes, levels.dtype)


def are_classes(levels: NDArray[Any], present: NDArray[Any], full: int) -> bool:
    """Whether levels, of which `present` occur and `full` is the brightest that there can be, look like classes."""
    return len(present) <= _MOST_LEVELS and not _smoothed(levels, present, full)


def _smoothed(levels: NDArray[Any], present: NDArray[Any], full: int) -> bool:
    """Whether this looks like a black and white mask with smooth edges: nearly all at the ends, slopes between."""
    between = present[(present > full // 8) & (present < full - full // 8)]
    ends = (levels == 0) | (levels == full)
    if len(between) <= 3 or ends.mean() <= 0.8:
        return False
    # What lies on a slope differs from a neighbour; most of a class does not.
    flat = np.ones(levels.shape, bool)
    for axis in (0, 1):
        same = np.diff(levels, axis=axis) == 0
        first, second = ((slice(None),) * axis + (part,) for part in (slice(1, None), slice(None, -1)))
        flat[first] &= same
        flat[second] &= same
    return bool(flat[~ends].mean() < 0.1)
