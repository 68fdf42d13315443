"""Colours: a grey picture and some scribbles in, the coloured picture out."""

from __future__ import annotations

import copy
import os
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spatialprop.errors import InputError
from spatialprop.nn.values import ValueNetwork
from spatialprop.refiner import ImageLike, to_image
from spatialprop.values.arrays import as_array
from spatialprop.values.scribbles import scribbled
from spatialprop.values.tiles import guide_in_tiles
from spatialprop.values.weights import load_values
from spatialprop.yuv import join_colours, split_colours


class Colorize:
    """Spreads the colours of scribbles over a grey picture; its brightness stays.

    Args:
        network: A network for colours, of which a copy is kept; `Colorize.load` makes one from a file.
        description: What it was trained on.

    Example:
        >>> from spatialprop.nn.guidance import LightGuidance
        >>> network = ValueNetwork(LightGuidance, channels=2, image_channels=1, bounds=(-0.5, 0.5))
        >>> grey = np.full((32, 48), 90, np.uint8)
        >>> scribbles = np.repeat(grey[..., None], 3, axis=2)
        >>> scribbles[10:12, 5:20] = 200, 40, 60
        >>> Colorize(network)(grey, scribbles).shape
        (32, 48, 3)
    """

    kind = "colour"

    def __init__(self, network: ValueNetwork, description: str = "") -> None:
        self.network = copy.deepcopy(network).eval()
        self.description = description

    @classmethod
    def load(cls, weights: str | os.PathLike[str] = "colour", *, device: str | torch.device = "cpu") -> Colorize:
        """Load the weights of a packaged name, or of a .safetensors file, on a device."""
        network, description = load_values(weights, cls.kind)
        return cls(network.to(device), description)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.network.parameters()).device

    def __call__(self, grey: ImageLike, scribbles: NDArray[Any]) -> NDArray[np.uint8]:
        """The coloured picture. (H, W, 3)

        Args:
            grey: The picture, (H, W) or of three channels, of which the brightness is taken.
            scribbles: A copy of it with coloured strokes (H, W, 3), or a layer that is transparent elsewhere
                (H, W, 4), of 8 bits.
        """
        brightness = self._brightness(grey)
        seen = np.rint(brightness * 255).astype(np.uint8)
        colours, where = scribbled(seen, as_array(scribbles, "scribbles"))
        return self.spread(brightness, split_colours(colours)[1], where)

    def spread(
        self, brightness: NDArray[np.float32], colours: NDArray[np.float32], where: NDArray[np.bool_]
    ) -> NDArray[np.uint8]:
        """The picture (H, W, 3) of a brightness (H, W) from 0 to 1, with colours (2, H, W) known where `where` says."""
        image, values, confidence = (
            torch.from_numpy(np.ascontiguousarray(one, np.float32)).to(self.device)[None]
            for one in (brightness[None], colours * where, where[None])
        )
        with torch.inference_mode():
            guidance = guide_in_tiles(self.network, image, values, confidence)
            found = self.network.spread(values, confidence, guidance)
        return join_colours(brightness, found[0].cpu().numpy())

    def _brightness(self, grey: ImageLike) -> NDArray[np.float32]:
        pixels, batched = to_image(grey, torch.device("cpu"))
        if batched:
            raise InputError(f"one picture is coloured at a time; got a batch of {len(pixels)}: give grey[0]")
        if pixels.dtype == torch.uint8:
            return split_colours(pixels[0].permute(1, 2, 0).numpy())[0]
        red, green, blue = pixels[0].float().numpy()
        return np.asarray(0.299 * red + 0.587 * green + 0.114 * blue, np.float32)
