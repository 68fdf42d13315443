"""Photographs, or drawn pictures where there are none, to cut pieces out of."""

import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from spatialprop.data.sets.folder import images_in
from spatialprop.data.sets.synthetic import SyntheticShapes
from spatialprop.maskfiles import read_image

HELD_OUT = 20  # one photograph in so many is kept for validation
_DRAWN = 240
_SMALLEST = 16  # pixels of a piece


class Photographs:
    """The images of some folders; without folders, drawn ones.

    Args:
        folders: Each holds images. One image in 20, chosen by its name, is held out.
        held_out: Take those that are held out, or all others; None takes all.
        memory: Megabytes of images to keep in memory in each process.
        split: Which of the drawn images are taken, where there are no folders.

    Example:
        >>> Photographs([]).piece(np.random.default_rng(0), (32, 48)).shape
        (32, 48, 3)
    """

    def __init__(
        self, folders: Sequence[str], held_out: bool | None = None, memory: int = 512, split: str = "train"
    ) -> None:
        if isinstance(folders, str):
            raise ValueError(f"photographs must be a list of folders; got {folders!r}: write [{folders}]")
        paths = [path for folder in folders for path in images_in(_folder(folder))]
        self.paths = [path for path in paths if held_out is None or _is_held_out(path) == held_out]
        if folders and not self.paths:
            raise ValueError(
                f"{', '.join(map(str, folders))}: of {len(paths)} photographs none is held out for validation (one in "
                f"{HELD_OUT} is); give more"
            )
        self._drawn = None if folders else SyntheticShapes(split, _DRAWN)
        self._free = memory * 10**6
        self._stored: dict[int, NDArray[np.uint8]] = {}

    def __len__(self) -> int:
        return len(self.paths) if self._drawn is None else len(self._drawn)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        if index not in self._stored:
            image = read_image(self.paths[index]) if self._drawn is None else self._drawn[index].image
            if image.nbytes > self._free:
                return image
            self._free -= image.nbytes
            self._stored[index] = image
        return self._stored[index]

    def piece(
        self, rng: np.random.Generator, size: tuple[int, int], zoom: tuple[float, float] = (0.5, 2.0)
    ) -> NDArray[np.uint8]:
        """A piece of some photograph, brought to `size` (H, W), enlarged or shrunk by a factor within `zoom`."""
        image = self[int(rng.integers(len(self)))]
        factor = float(np.exp(rng.uniform(*np.log(zoom))))
        height, width = image.shape[:2]
        # Both sides by one factor, unless the photograph is too small for that.
        fit = min(1.0, height * factor / size[0], width * factor / size[1])
        sides = [max(min(_SMALLEST, *image.shape[:2]), round(side / factor * fit)) for side in size]
        rows, columns = min(sides[0], height), min(sides[1], width)
        top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
        part = image[top : top + rows, left : left + columns]
        if rng.random() < 0.5:
            part = part[:, ::-1]
        way = cv2.INTER_AREA if rows > size[0] else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(np.ascontiguousarray(part), size[::-1], interpolation=way), np.uint8)


def _folder(folder: str) -> Path:
    path = Path(folder)
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is no folder of photographs; give folders that hold images")
    return path


def _is_held_out(path: Path) -> bool:
    return zlib.crc32(path.stem.encode()) % HELD_OUT == 0
