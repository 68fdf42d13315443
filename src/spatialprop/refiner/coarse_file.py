"""What is known of a coarse map that was read from a file."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class CoarseFile:
    """What a file holds, and what it takes to write a result of the same kind.

    Attributes:
        values: Labels (H, W), probabilities (K, h, w) or, for an alpha, those of ground and object (2, H, W).
        kind: "labels", "mask", "alpha", "colours", or "probabilities".
        codes: What the file writes for label 0, 1, ...: grey levels, or colours (K, 3); None if labels are as they are.
        mode: Pillow's mode of the file, None for arrays.
        palette: Colours of a palette file, as bytes.
        dtype: Type of an array's numbers.
        key: Name of the array in an .npz.
        single: Whether an alpha came as an array (1, H, W).
        picture: What the colours beside an alpha channel are. (H, W, 3)
    """

    values: NDArray[Any]
    kind: str
    codes: NDArray[Any] | None = None
    mode: str | None = None
    palette: bytes | None = None
    dtype: np.dtype[Any] | None = None
    key: str = "probs"
    single: bool = False
    picture: NDArray[np.uint8] | None = field(default=None, repr=False)
