"""Mend any segmentation: an image and a coarse map in, a better map out."""

from spatialprop.drawing import explain
from spatialprop.refiner.inputs import InputError
from spatialprop.refiner.refiner import Refiner
from spatialprop.refiner.weights import packaged, save_refiner

__all__ = ["InputError", "Refiner", "explain", "packaged", "save_refiner"]
