"""From examples to batches of tensors.

`DataModule` is in `spatialprop.data.loading.module`, which alone needs Lightning.
"""

from spatialprop.data.loading.augment import Augment
from spatialprop.data.loading.batches import collate
from spatialprop.data.loading.crops import crop_coarse
from spatialprop.data.loading.patches import Patches, SquarePatches, WholeImages, Window
from spatialprop.data.loading.samples import Sample

__all__ = ["Augment", "Patches", "Sample", "SquarePatches", "WholeImages", "Window", "collate", "crop_coarse"]
