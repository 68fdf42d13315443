"""The matte: a photograph and a trimap in, alpha out."""

from __future__ import annotations

import copy
import os
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spatialprop.errors import InputError
from spatialprop.maskfiles import as_trimap, band_around, check_trimap
from spatialprop.nn.values import ValueNetwork
from spatialprop.refiner import ImageLike, to_image
from spatialprop.values.arrays import as_array
from spatialprop.values.foreground import estimate_foreground
from spatialprop.values.tiles import guide_in_tiles
from spatialprop.values.weights import load_values


class Matte:
    """Finds how much of each pixel belongs to the foreground.

    Args:
        network: A network for mattes, of which a copy is kept; `Matte.load` makes one from a file.
        description: What it was trained on.

    Example:
        >>> from spatialprop.nn.guidance import LightGuidance
        >>> matte = Matte(ValueNetwork(LightGuidance, channels=1))
        >>> trimap = np.zeros((48, 64), np.uint8)
        >>> trimap[8:40, 16:48], trimap[16:32, 24:40] = 128, 255
        >>> alpha = matte(np.zeros((48, 64, 3), np.uint8), trimap)
        >>> alpha.shape, float(alpha[0, 0]), float(alpha[24, 32])
        ((48, 64), 0.0, 1.0)
    """

    kind = "matte"

    def __init__(self, network: ValueNetwork, description: str = "") -> None:
        self.network = copy.deepcopy(network).eval()
        self.description = description

    @classmethod
    def load(cls, weights: str | os.PathLike[str] = "matte", *, device: str | torch.device = "cpu") -> Matte:
        """Load the weights of a packaged name, or of a .safetensors file, on a device."""
        network, description = load_values(weights, cls.kind)
        return cls(network.to(device), description)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.network.parameters()).device

    def __call__(self, image: ImageLike, trimap: NDArray[Any]) -> NDArray[np.float32]:
        """Alpha from 0 to 1. (H, W)

        Args:
            image: An array (H, W, 3), a PIL image or a tensor (3, H, W), as a `Refiner` takes them.
            trimap: 0 where there is background, 255 where there is foreground, 128 where alpha is asked for. (H, W)
        """
        pixels, batched = to_image(image, self.device)
        if batched:
            raise InputError(f"a matte is made of one image; got a batch of {len(pixels)}: give image[0]")
        if pixels.dtype == torch.uint8:
            pixels = pixels.float() / 255
        known = as_trimap(as_array(trimap, "a trimap"))
        check_trimap(known, tuple(pixels.shape[-2:]))
        given = torch.from_numpy(known).to(self.device)[None, None]
        values, confidence = (given == 255).float(), (given != 128).float()
        with torch.inference_mode():
            guidance = guide_in_tiles(self.network, pixels, values, confidence)
            alpha = self.network.spread(values, confidence, guidance)
        return np.asarray(alpha[0, 0].clamp(0, 1).cpu().numpy(), np.float32)

    def from_mask(self, image: ImageLike, mask: NDArray[Any], band: int = 20) -> NDArray[np.float32]:
        """Alpha from a rough mask (H, W), of which nothing is believed within `band` pixels of its border."""
        inside = as_array(mask, "a mask")
        if inside.ndim != 2 or inside.size == 0:
            raise InputError(f"a mask is (H, W), of a pixel or more; got {inside.shape}")
        if inside.dtype.kind not in "buif" or not np.isfinite(inside).all():
            raise InputError(f"a mask holds finite numbers; got {inside.dtype}, {inside.size} of them")
        if inside.dtype != np.bool_:
            middle = 0.5 if inside.dtype.kind == "f" and inside.max(initial=0) <= 1 else (int(inside.max()) + 1) // 2
            inside = inside >= max(middle, np.finfo(np.float32).tiny)
        trimap = band_around(inside, band)
        for value, what in ((255, "inside"), (0, "outside")):
            if not (trimap == value).any():
                raise InputError(
                    f"nothing {what} the mask is further than {band} pixels from its border, so nothing is known "
                    f"there: take a narrower band, or a trimap"
                )
        return self(image, trimap)

    @staticmethod
    def cut_out(image: NDArray[np.uint8], alpha: NDArray[np.floating]) -> NDArray[np.uint8]:
        """The foreground in its own colours, before nothing. RGBA, (H, W, 4)"""
        if image.shape != (*alpha.shape, 3):
            raise InputError(f"image must be (H, W, 3) and alpha (H, W) of one size; got {image.shape}, {alpha.shape}")
        opaque = np.rint(np.clip(alpha, 0, 1) * 255).astype(np.uint8)
        return np.dstack([estimate_foreground(image, alpha), opaque])
