"""Coarse maps: from files, simulated from labels, and made worse or rougher for training."""

from spatialprop.data.coarse.degrade import DegradeCoarse
from spatialprop.data.coarse.maps import CoarseFiles, CoarseMemory, WithCoarse, coarse_map
from spatialprop.data.coarse.rough import RoughTruth
from spatialprop.data.coarse.simulate import SimulatedCoarse

__all__ = ["CoarseFiles", "CoarseMemory", "DegradeCoarse", "RoughTruth", "SimulatedCoarse", "WithCoarse", "coarse_map"]
