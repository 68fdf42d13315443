"""Each pixel chooses between the cells of half the resolution around it and its own share in the coarse map."""

from spatialprop.ops.choosing.labels import most_likely
from spatialprop.ops.choosing.naive import CHOICES, STRIDE, SUBPIXELS, choose, first_choice

__all__ = ["CHOICES", "STRIDE", "SUBPIXELS", "choose", "first_choice", "most_likely"]
