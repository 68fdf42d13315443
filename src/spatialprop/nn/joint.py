"""A segmenter and the propagation on top of it, as one network."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from spatialprop.nn.guidance import TrunkGuidance
from spatialprop.nn.refinement import RefinementNetwork
from spatialprop.nn.resize import resize


class JointNetwork(nn.Module):
    """Segment an image, then propagate the segmentation.

    Args:
        segmenter: An image in, class scores at its own resolution out.
        guidance: Makes a guidance network of its own, given how many channels it must have; None reads the guidance
            from the segmenter's trunk, see `TrunkGuidance`.
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
        stride = min(2, getattr(self.segmenter, "stride", 2))  # gates are never coarser than the scores they refine
        return TrunkGuidance(channels, cast(int, self.segmenter.feature_channels), stride=stride)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Coarse and refined log-probabilities for `image` (N, 3, H, W). (N, K, H, W) each"""
        coarse, start, gates = self._coarse_and_gates(image)
        return coarse, self.refinement.refine(start.exp(), gates, image.shape[-2:])

    def affinity(self, image: Tensor, pixel: tuple[int, int]) -> Tensor:
        """How much each pixel of the coarse map adds to the class that wins at `pixel` (row, column). (H, W)"""
        with torch.no_grad():
            coarse, _, gates = self._coarse_and_gates(image)
        return self.refinement.affinity_through(gates, coarse.exp(), pixel)

    def _coarse_and_gates(self, image: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The coarse log-probabilities at the image's size, those that propagation starts from, and the gates."""
        if not self.shares_trunk:
            coarse = _log_probabilities(self.segmenter(image), image, image.shape[-2:])
            return coarse, coarse, self.refinement.gates(image, coarse.exp())
        scores, features = cast(Any, self.segmenter).forward_with_features(image)
        gates = self.refinement.gates_from(features, image)
        # Not by way of the image's size: to shrink from there would blur.
        start = _log_probabilities(scores, image, gates[0].shape[-2:])
        return _log_probabilities(scores, image, image.shape[-2:]), start, gates


def _log_probabilities(scores: Tensor, image: Tensor, size: Sequence[int]) -> Tensor:
    return resize(scores.to(image.dtype), size).log_softmax(dim=1)
