"""Data sets, patches of them, and the tensors that networks take."""

from spatialprop.data.augment import Augment
from spatialprop.data.coarse import CoarseFiles, WithCoarse
from spatialprop.data.example import VOID, Example, Examples, LabelSet
from spatialprop.data.folder import ImageFolder
from spatialprop.data.patches import SquarePatches, WholeImages
from spatialprop.data.simulate import SimulatedCoarse
from spatialprop.data.splits import Splits, folder, synthetic
from spatialprop.data.synthetic import SyntheticShapes

__all__ = [
    "VOID",
    "Augment",
    "CoarseFiles",
    "Example",
    "Examples",
    "ImageFolder",
    "LabelSet",
    "SimulatedCoarse",
    "Splits",
    "SquarePatches",
    "SyntheticShapes",
    "WholeImages",
    "WithCoarse",
    "folder",
    "synthetic",
]
