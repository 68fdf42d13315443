"""The refiner: an image and a coarse map in, a refined map out."""

from spatialprop.errors import InputError
from spatialprop.refiner.explain import explain
from spatialprop.refiner.export import check_program, standard_propagation, write_program
from spatialprop.refiner.opened import Opened
from spatialprop.refiner.refiner import Refiner
from spatialprop.refiner.weights import describe, load_network, packaged, save_refiner

__all__ = [
    "InputError",
    "Opened",
    "Refiner",
    "check_program",
    "describe",
    "explain",
    "load_network",
    "packaged",
    "save_refiner",
    "standard_propagation",
    "write_program",
]
