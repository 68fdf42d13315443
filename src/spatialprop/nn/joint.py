"""A segmenter and the propagation on top of it, as one network."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from spatialprop.nn.refinement import RefinementNetwork
from spatialprop.nn.resize import resize
from spatialprop.nn.segmenters.features import reduced

TRUNK_WIDTH = 32  # channels between a segmenter's features and the gates that are read from them


class JointNetwork(nn.Module):
    """Segment an image, then propagate the segmentation.

    Args:
        segmenter: An image in, class scores at its own resolution out.
        guidance: Makes a guidance network of its own, given how many channels it must have; None reads the guidance
            from the segmenter's trunk by two convolutions.
        refinement: Further options of `RefinementNetwork`.

    Example:
        >>> from spatialprop.nn.guidance import LightGuidance
        >>> network = JointNetwork(torch.nn.Conv2d(3, 5, 8, stride=8), LightGuidance)
        >>> coarse, refined = network(torch.rand(2, 3, 64, 64))
        >>> refined.shape
        torch.Size([2, 5, 64, 64])
    """

    def __init__(
        self, segmenter: nn.Module, guidance: Callable[[int], nn.Module] | None = None, **refinement: Any
    ) -> None:
        super().__init__()
        shares_trunk = guidance is None
        if shares_trunk and not hasattr(segmenter, "forward_with_features"):
            raise ValueError(
                f"{type(segmenter).__name__} does not hand out its features (no method forward_with_features); "
                f"give the propagation a guidance network of its own: task.share_trunk=false"
            )
        if shares_trunk and refinement.get("hints"):
            raise ValueError(
                f"hints are shown to a guidance network of its own beside the image; "
                f"got hints = {refinement['hints']} with a shared trunk: set task.share_trunk=false, or no hints"
            )
        self.segmenter = segmenter
        self.shares_trunk = shares_trunk
        self.refinement = RefinementNetwork(guidance or self._trunk_guidance, **refinement)

    def _trunk_guidance(self, channels: int) -> nn.Module:
        features = cast(int, self.segmenter.feature_channels)
        head = nn.Conv2d(TRUNK_WIDTH, channels, 3, padding=1)
        # Small gates at first: propagation starts as the identity and learns where to leave it.
        nn.init.normal_(head.weight, std=1e-2)
        nn.init.zeros_(cast(Tensor, head.bias))
        # Gates that begin beyond what their normalisation allows would never come back.
        return nn.Sequential(*reduced(features, TRUNK_WIDTH, kernel=3), head)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Coarse and refined log-probabilities for `image` (N, 3, H, W). (N, K, H, W) each"""
        coarse, gates = self._coarse_and_gates(image)
        return coarse, self.refinement.refine(coarse.exp(), gates)

    def affinity(self, image: Tensor, pixel: tuple[int, int]) -> Tensor:
        """How much each pixel of the coarse map adds to the class that wins at `pixel` (row, column). (H, W)"""
        with torch.no_grad():
            coarse, gates = self._coarse_and_gates(image)
        return self.refinement.affinity_through(gates, coarse.exp(), pixel)

    def _coarse_and_gates(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        if self.shares_trunk:
            scores, features = cast(Any, self.segmenter).forward_with_features(image)
        else:
            scores, features = self.segmenter(image), None
        coarse = resize(scores.to(image.dtype), image.shape[-2:]).log_softmax(dim=1)
        if features is None:
            return coarse, self.refinement.gates(image, coarse.exp())
        return coarse, self.refinement.gates_from(features)
