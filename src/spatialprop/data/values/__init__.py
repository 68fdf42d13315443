"""Images of which some values are known: mattes from trimaps, colours from hints."""

from spatialprop.data.values.colours import ColourImages, ColourPatches, colorize
from spatialprop.data.values.example import ValueExample, ValueExamples, ValuePatches, ValueSplits
from spatialprop.data.values.matting import ComposedMattes, FixedMattes, MatteFolder, matting
from spatialprop.data.values.photographs import Photographs

__all__ = [
    "ColourImages",
    "ColourPatches",
    "ComposedMattes",
    "FixedMattes",
    "MatteFolder",
    "Photographs",
    "ValueExample",
    "ValueExamples",
    "ValuePatches",
    "ValueSplits",
    "colorize",
    "matting",
]
