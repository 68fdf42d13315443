"""The images that a page has open, and what is asked about them."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spatialprop.errors import InputError
from spatialprop.refiner import Opened, Refiner, Rough
from spatialprop.values import Colorize, Matte

MOST_IMAGES = 4  # kept open, the least recently used one is forgotten


@dataclass
class OpenImage:
    """An image that the page has sent, and its mask as it was refined last."""

    pixels: NDArray[np.uint8]
    opened: Opened | None = None


@dataclass
class Sessions:
    """What answers, and the images that are open; one question is answered at a time."""

    refiner: Refiner
    matter: Matte | None = None
    colorizer: Colorize | None = None
    images: "OrderedDict[str, OpenImage]" = field(default_factory=OrderedDict)
    count: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self, pixels: NDArray[np.uint8]) -> str:
        with self.lock:
            self.count += 1
            name = str(self.count)
            self.images[name] = OpenImage(pixels)
            while len(self.images) > MOST_IMAGES:
                self.images.popitem(last=False)
        return name

    def refine(self, name: str, labels: bytes, rough: Rough) -> bytes:
        with self.lock:
            image = self._image(name)
            coarse = _like(image.pixels, labels, "the mask", "labels, one byte a pixel")
            image.opened = self.refiner.open(image.pixels, coarse, rough=rough)
            return bytes(np.ascontiguousarray(image.opened.labels).data)

    def affinity(self, name: str, pixel: tuple[int, int]) -> bytes:
        with self.lock:
            opened = self._image(name).opened
            if opened is None:
                raise LookupError("refine a mask of this image first")
            return np.ascontiguousarray(opened.affinity(pixel), "<f4").tobytes()

    def matte(self, name: str, trimap: bytes) -> bytes:
        """The foreground in its own colours, with its alpha: RGBA."""
        with self.lock:
            if self.matter is None:
                raise LookupError("this page makes no mattes")
            pixels = self._image(name).pixels
            known = _like(pixels, trimap, "the trimap", "values, one byte a pixel")
            return self.matter.cut_out(pixels, self.matter(pixels, known)).tobytes()

    def colour(self, name: str, strokes: bytes) -> bytes:
        """The coloured picture: RGB."""
        with self.lock:
            if self.colorizer is None:
                raise LookupError("this page colours no pictures")
            pixels = self._image(name).pixels
            layer = _like(pixels, strokes, "the layer of strokes", "bytes, RGBA", 4)
            return self.colorizer(pixels, layer).tobytes()

    def warm_up(self) -> None:
        """Compile whatever the first questions need."""
        labels = np.zeros((64, 64), np.uint8)
        labels[:, 32:] = 1
        with self.lock:
            opened = self.refiner.open(np.zeros((64, 64, 3), np.uint8), labels)
            assert opened.labels.shape == opened.affinity((5, 5)).shape
            if self.matter:
                self.matter(np.zeros((64, 64, 3), np.uint8), labels * 255)
            if self.colorizer:
                self.colorizer(np.zeros((64, 64), np.uint8), np.dstack([labels * 200] * 4))

    def _image(self, name: str) -> OpenImage:
        if name not in self.images:
            raise LookupError("this image is no longer open; send it again")
        self.images.move_to_end(name)
        return self.images[name]


def _like(pixels: NDArray[np.uint8], given: bytes, what: str, of: str, channels: int = 1) -> NDArray[np.uint8]:
    """Bytes as a map of the size of an image."""
    height, width = pixels.shape[:2]
    if len(given) != height * width * channels:
        raise InputError(f"{what} must have {height * width * channels} {of}; got {len(given)}")
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.frombuffer(given, np.uint8).reshape(shape)
