"""Label maps as pictures that people can look at."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spatialprop.drawing import class_colours
from spatialprop.files import write_beside


def write_label(path: Path, label: NDArray[np.uint8]) -> None:
    """Write a label map (H, W) as a palette PNG of class indices, in the colours of PASCAL VOC."""
    picture = Image.fromarray(label)
    picture.putpalette(class_colours().tobytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_beside(path) as file:
        picture.save(file, format="PNG")
