"""The refiner: an image and a coarse map in, a refined map out.

The way of a file through `spatialprop refine photo.jpg mask.png`, where nothing is computed before it is asked for:

    cli/refine/work.py  refine_file             one file after the other, or several at once
    maskfiles           read_image, read_coarse
    refiner.py          Refiner.open            an `Opened`, which knows the rest of the way
    inputs.py           to_image, to_coarse     what was given, checked, as tensors
    opened.py           labels, probabilities   what is asked for:
    coarse_maps.py      cells                     the coarse map's shares, at the resolution of the network's cells
    tiles.py            look_in_tiles             what the network says about image and coarse map, found once
    opened.py           _refined                  the shares after propagation
    ops/choosing        most_likely, choose       brought to the image's size
    opened.py           settled                   labels that turn out to be far off are doubted, and refined again
    maskfiles           write                   as the file that the coarse map came from

`weights.py` loads the network, and `export.py` writes it for other programs.
"""

from spatialprop.errors import InputError
from spatialprop.refiner.explain import explain
from spatialprop.refiner.export import check_program, standard_propagation, write_program
from spatialprop.refiner.inputs import ImageLike, Rough, dense, to_image
from spatialprop.refiner.opened import DOUBT, FAR_OFF, Opened
from spatialprop.refiner.refiner import Refiner
from spatialprop.refiner.weights import describe, load_network, packaged, save_refiner

__all__ = [
    "DOUBT",
    "FAR_OFF",
    "ImageLike",
    "InputError",
    "Opened",
    "Refiner",
    "Rough",
    "check_program",
    "dense",
    "describe",
    "explain",
    "load_network",
    "packaged",
    "save_refiner",
    "standard_propagation",
    "to_image",
    "write_program",
]
