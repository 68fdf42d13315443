"""Masks that do not live in pictures of their own: annotations of a whole data set, and rasters larger than memory.

Each format is read, given to a function that refines a mask, and written back with all else as it was.
"""

from spatialprop.formats.coco import read_coco, refine_coco
from spatialprop.formats.instances import RefineMask, refine_instance
from spatialprop.formats.polygons import outlines
from spatialprop.formats.raster import refine_raster
from spatialprop.formats.yolo import refine_yolo

__all__ = ["RefineMask", "outlines", "read_coco", "refine_coco", "refine_instance", "refine_raster", "refine_yolo"]
