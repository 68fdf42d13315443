"""Mattes and colours: an image and what is known of it in, the whole map out."""

from spatialprop.errors import InputError
from spatialprop.values.colorize import Colorize
from spatialprop.values.foreground import estimate_foreground
from spatialprop.values.matte import Matte
from spatialprop.values.scribbles import read_scribbles, scribbled
from spatialprop.values.weights import load_values, packaged, save_values

__all__ = [
    "Colorize",
    "InputError",
    "Matte",
    "estimate_foreground",
    "load_values",
    "packaged",
    "read_scribbles",
    "save_values",
    "scribbled",
]
