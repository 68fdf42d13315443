"""The refiner: an image and a coarse map in, a refined map out."""

from spatialprop.errors import InputError
from spatialprop.refiner.explain import explain
from spatialprop.refiner.inputs import ImageLike, to_image
from spatialprop.refiner.opened import Opened
from spatialprop.refiner.refiner import Refiner
from spatialprop.refiner.weights import describe, load_network, packaged, save_refiner

__all__ = [
    "ImageLike",
    "InputError",
    "Opened",
    "Refiner",
    "describe",
    "explain",
    "load_network",
    "packaged",
    "save_refiner",
    "to_image",
]
