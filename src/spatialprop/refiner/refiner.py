"""The refiner: three lines that refine any segmentation."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spatialprop.memory import keep_freed_memory
from spatialprop.nn.inference import folded
from spatialprop.nn.refinement import RefinementNetwork
from spatialprop.nn.trusting import TrustingNetwork
from spatialprop.refiner.inputs import CoarseLike, ImageLike, Rough, to_image
from spatialprop.refiner.opened import Opened
from spatialprop.refiner.tiles import TILE
from spatialprop.refiner.weights import load_network


class Refiner:
    """Refines the borders of a segmentation along the affinities that its network predicts from the image.

    Images are (H, W, 3) arrays, uint8, uint16 or floats from 0 to 1, PIL images, or tensors (3, H, W). Coarse maps are
    probabilities (K, h, w) at any resolution, which cover the whole image, or label maps (H, W) of integers, arrays or
    tensors. Tensors with a batch in front work too. What comes out is an array or a tensor as the coarse map was, on
    the device of the weights.

    Args:
        network: A network that knows no classes, of which the refiner keeps a copy; `Refiner.load` makes one from a
            file.
        description: What it was trained on.
        tile: Side in pixels of the tiles in which larger images pass through the network; results do not depend on it.

    Example:
        >>> import numpy as np
        >>> from spatialprop.nn.guidance import LightGuidance
        >>> refiner = Refiner(RefinementNetwork(LightGuidance))
        >>> image = np.zeros((48, 64, 3), np.uint8)
        >>> labels = np.repeat([[0] * 32 + [7] * 32], 48, axis=0)
        >>> refined = refiner(image, labels)
        >>> refined.shape, np.unique(refined).tolist()
        ((48, 64), [0, 7])
    """

    def __init__(
        self, network: RefinementNetwork | TrustingNetwork, description: str = "", *, tile: int = TILE
    ) -> None:
        if isinstance(network, RefinementNetwork) and network.before is not None:
            raise ValueError(
                "this network has hidden maps, so it knows its classes; a refiner works for any: use hidden=None"
            )
        keep_freed_memory()
        self.network = copy.deepcopy(network).eval()
        self.description = description
        self._folded, self._tile, self._name = folded(self.network), tile, ""

    @classmethod
    def load(cls, weights: str | os.PathLike[str] = "light", *, device: str | torch.device = "cpu") -> Refiner:
        """Load a refiner on a device.

        Args:
            weights: A packaged name, a .safetensors file, or "hf:owner/name" on the Hugging Face hub, a version of
                which "hf:owner/name@revision" pins. Whichever it is, nothing but safetensors is read.
            device: Where it computes.
        """
        network, description = load_network(weights)
        refiner = cls(network.to(device), description)
        refiner._name = os.fspath(weights)
        return refiner

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.network.parameters()).device

    def __call__(
        self,
        image: ImageLike,
        coarse: CoarseLike,
        *,
        restrict: bool = True,
        classes: int | None = None,
        rough: Rough = "auto",
    ) -> Any:
        """Refine a coarse map into a label map. (H, W)

        Args:
            image: The photograph.
            coarse: The map to refine.
            restrict: Let no class come out that was nowhere the most likely one in the coarse map.
            classes: Number of classes, if a label map shall be held to it.
            rough: By about how many pixels the borders of a label map may be wrong. By default the network sees that
                for itself, and refines once more where they turn out to be far off; 0 leaves a label map as it is, and
                so does the default with a network that cannot judge labels (`network.judges_labels`).

        Returns:
            Labels in the type they had in a label map, else int64.
        """
        return self.open(image, coarse, restrict=restrict, classes=classes, rough=rough).labels

    def probabilities(
        self,
        image: ImageLike,
        coarse: CoarseLike,
        *,
        restrict: bool = True,
        classes: int | None = None,
        rough: Rough = "auto",
    ) -> Any:
        """Refine a coarse map into probabilities, float32. (K, H, W)

        The arguments are those of a call. The K of a label map is `classes`, or its largest label plus one.
        """
        return self.open(image, coarse, restrict=restrict, classes=classes, rough=rough).probabilities

    def affinity(self, image: ImageLike, coarse: CoarseLike | None, pixel: tuple[int, int]) -> Any:
        """How much each pixel of the coarse map adds to the class that wins at one pixel. (H, W)

        That is the row of the Jacobian of the refined map that belongs to `pixel` and the class which comes out there,
        with the guidance as it is.

        Args:
            image: The photograph.
            coarse: The map to refine; None for one that says nothing.
            pixel: Row and column.
        """
        if coarse is None:
            images, batched = to_image(image, self.device)
            shape = (len(images), 2, *images.shape[-2:]) if batched else (2, *images.shape[-2:])
            coarse = torch.full(shape, 0.5) if isinstance(image, Tensor) else np.full(shape, 0.5, np.float32)
        return self.open(image, coarse).affinity(pixel)

    def open(
        self,
        image: ImageLike,
        coarse: CoarseLike,
        *,
        restrict: bool = True,
        classes: int | None = None,
        rough: Rough = "auto",
    ) -> Opened:
        """Open an image and a coarse map to ask for labels, probabilities and affinities without computing gates again.

        The arguments are those of a call.
        """
        options: dict[str, Any] = {"restrict": restrict, "classes": classes, "rough": rough}
        return Opened(self._folded, self.device, image, coarse, **options, tile=self._tile, name=self._name)

    def export(self, path: str | os.PathLike[str], *, guidance: bool = False) -> None:
        """Write an archive that other programs run, for images and coarse maps of any size and number of classes.

        It takes `image` (1, 3, H, W), floats from 0 to 1, and `coarse` (1, K, h, w), and gives what `probabilities`
        gives, (1, K, H, W), without tiles and without checks. It refines once, even where labels turn out to be far
        off; where a side is no multiple of the network's coarsest cell, the padding beyond the image's edge differs a
        little.

        Args:
            path: `.onnx`, of standard operators alone, or `.pt2` for `torch.export.load` after
                `import spatialprop.ops`, which scans many times faster.
            guidance: Also give `guidance` (1, c, h, w), from which affinities follow: raw gates of the first unit, of
                the second one if it has its own, and the trust and the choice of a network that has them.
        """
        from spatialprop.refiner.export import export

        export(self.network, Path(path), guidance=guidance)

    def push_to_hub(
        self, name: str, *, private: bool = False, revision: str | None = None, message: str = "Upload a refiner"
    ) -> str:
        """Upload the weights and a model card to the Hugging Face hub, for `Refiner.load("hf:owner/name")`.

        Args:
            name: The repository, owner/name; it is made if there is none.
            private: Whether a new repository is private.
            revision: The branch, by default main.
            message: Of the commit.

        Returns:
            The commit's address.
        """
        from spatialprop import hub
        from spatialprop.refiner.weights import describe, save_refiner

        with TemporaryDirectory() as scratch:
            path = Path(scratch, hub.FILE)
            save_refiner(self.network, path, self.description)
            card = hub.card(name, self.description, json.dumps(describe(self.network), indent=2))
            return hub.push(path.read_bytes(), card, name, private=private, revision=revision, message=message)
