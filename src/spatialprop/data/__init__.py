"""Data sets, patches of them, and the tensors that networks take."""

from spatialprop.data.coarse.degrade import DegradeCoarse
from spatialprop.data.coarse.maps import CoarseFiles, WithCoarse
from spatialprop.data.coarse.rough import RoughTruth
from spatialprop.data.coarse.simulate import SimulatedCoarse
from spatialprop.data.example import VOID, Example, Examples, LabelSet
from spatialprop.data.loading.augment import Augment
from spatialprop.data.loading.patches import SquarePatches, WholeImages
from spatialprop.data.sets.camvid import CamVid
from spatialprop.data.sets.cityscapes import Cityscapes
from spatialprop.data.sets.folder import ImageFolder
from spatialprop.data.sets.helen import Helen
from spatialprop.data.sets.mixed import Mixed
from spatialprop.data.sets.splits import Splits, camvid, cityscapes, folder, folders, helen, mixed, synthetic, voc
from spatialprop.data.sets.synthetic import SyntheticShapes
from spatialprop.data.sets.voc import VOC

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
