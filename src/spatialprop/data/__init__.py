"""Data sets, their coarse maps, and the patches that networks are trained on.

A data set is a function that conf/data names, such as `camvid`, and that returns `Splits` of `Examples`. To add one,
write `sets/<name>.py` and name its function here.
"""

from spatialprop.data.coarse import (
    CoarseFiles,
    CoarseMemory,
    DegradeCoarse,
    RoughTruth,
    SimulatedCoarse,
    WithCoarse,
    coarse_map,
)
from spatialprop.data.example import Example, Examples, Splits
from spatialprop.data.label_files import write_label
from spatialprop.data.label_set import VOID, LabelSet, read_label_set, write_label_set
from spatialprop.data.loading import Augment, Patches, Sample, SquarePatches, WholeImages, Window, collate, crop_coarse
from spatialprop.data.sets.camvid import camvid
from spatialprop.data.sets.cityscapes import cityscapes
from spatialprop.data.sets.folder import ImageFolder, folder
from spatialprop.data.sets.helen import helen
from spatialprop.data.sets.mixed import folders, mixed
from spatialprop.data.sets.synthetic import SyntheticShapes, synthetic
from spatialprop.data.sets.voc import voc
from spatialprop.data.values import ValueExample, ValueExamples, ValuePatches, ValueSplits, colorize, matting

__all__ = [
    "VOID",
    "Augment",
    "CoarseFiles",
    "CoarseMemory",
    "DegradeCoarse",
    "Example",
    "Examples",
    "ImageFolder",
    "LabelSet",
    "Patches",
    "RoughTruth",
    "Sample",
    "SimulatedCoarse",
    "Splits",
    "SquarePatches",
    "SyntheticShapes",
    "ValueExample",
    "ValueExamples",
    "ValuePatches",
    "ValueSplits",
    "WholeImages",
    "Window",
    "WithCoarse",
    "camvid",
    "cityscapes",
    "coarse_map",
    "collate",
    "colorize",
    "crop_coarse",
    "folder",
    "folders",
    "helen",
    "matting",
    "mixed",
    "read_label_set",
    "synthetic",
    "voc",
    "write_label",
    "write_label_set",
]
