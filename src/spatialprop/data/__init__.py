"""Data sets, patches of them, and the tensors that networks take."""

from spatialprop.data.augment import Augment
from spatialprop.data.camvid import CamVid
from spatialprop.data.cityscapes import Cityscapes
from spatialprop.data.coarse import CoarseFiles, WithCoarse
from spatialprop.data.degrade import DegradeCoarse
from spatialprop.data.example import VOID, Example, Examples, LabelSet
from spatialprop.data.folder import ImageFolder
from spatialprop.data.helen import Helen
from spatialprop.data.mixed import Mixed
from spatialprop.data.patches import SquarePatches, WholeImages
from spatialprop.data.rough import RoughTruth
from spatialprop.data.simulate import SimulatedCoarse
from spatialprop.data.splits import Splits, camvid, cityscapes, folder, folders, helen, mixed, synthetic, voc
from spatialprop.data.synthetic import SyntheticShapes
from spatialprop.data.voc import VOC

__all__ = [
    "VOC",
    "VOID",
    "Augment",
    "CamVid",
    "Cityscapes",
    "CoarseFiles",
    "DegradeCoarse",
    "Example",
    "Examples",
    "Helen",
    "ImageFolder",
    "LabelSet",
    "Mixed",
    "RoughTruth",
    "SimulatedCoarse",
    "Splits",
    "SquarePatches",
    "SyntheticShapes",
    "WholeImages",
    "WithCoarse",
    "camvid",
    "cityscapes",
    "folder",
    "folders",
    "helen",
    "mixed",
    "synthetic",
    "voc",
]
