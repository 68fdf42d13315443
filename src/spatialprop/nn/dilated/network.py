"""A segmenter that also predicts dilated affinity, and propagates its segmentation along that."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from torch import Tensor, nn

from spatialprop.nn.dilated.head import AffinityHead
from spatialprop.nn.dilated.propagation import AffinityPropagation
from spatialprop.nn.resize import resize
from spatialprop.ops.contract import check_integer


class Prediction(NamedTuple):
    """The output of a `DilatedAffinityNetwork`; None where it has no such part."""

    coarse: Tensor  # (N, K, H, W), log-probabilities of the segmenter
    pairs: Tensor | None  # (N, P / 2, h, w), logits of later neighbours
    refined: Tensor | None  # (N, K, H, W), log-probabilities after propagation


class DilatedAffinityNetwork(nn.Module):
    """Segment an image, predict which pixels belong together, and propagate the segmentation along that.

    Affinities lie on the grid of the segmenter's scores, or on one of its own; the features that the head looks at are
    brought there, and so are the scores before they are propagated.

    Args:
        segmenter: An image in, class scores out; it must hand out its features.
        head: Whether there is an affinity head.
        propagation: The propagation along the affinities, None for none.
        dilations, kernel, width: See `AffinityHead`.
        stride: Pixels of the image to a cell of the affinities' grid, None for the grid of the scores.

    Example:
        >>> import torch
        >>> from spatialprop.nn.segmenters import UNet
        >>> network = DilatedAffinityNetwork(UNet(5, factor=4, depth=2), propagation=AffinityPropagation(steps=3))
        >>> prediction = network(torch.rand(1, 3, 50, 70))
        >>> prediction.pairs.shape, prediction.refined.shape
        (torch.Size([1, 16, 13, 18]), torch.Size([1, 5, 50, 70]))
    """

    def __init__(
        self,
        segmenter: nn.Module,
        *,
        head: bool = True,
        propagation: AffinityPropagation | None = None,
        dilations: Sequence[int] = (1, 2, 4, 8),
        kernel: int = 3,
        width: int = 16,
        stride: int | None = None,
    ) -> None:
        super().__init__()
        if propagation is not None and not head:
            raise ValueError("nothing propagates without affinities: give head=True, or propagation=None")
        if propagation is not None and (propagation.dilations, propagation.kernel) != (tuple(dilations), kernel):
            raise ValueError(
                f"head and propagation must mean the same neighbours; got dilations {tuple(dilations)} and kernel "
                f"{kernel} for the head, {propagation.dilations} and {propagation.kernel} for the propagation"
            )
        if stride is not None:
            check_integer("stride", stride, 1)
        if head and not hasattr(segmenter, "forward_with_features"):
            raise ValueError(
                f"{type(segmenter).__name__} does not hand out its features (no method forward_with_features), which "
                f"the affinity head looks at"
            )
        self.segmenter = segmenter
        self.stride = stride
        self.head: AffinityHead | None = None
        if head:
            channels = cast(int, segmenter.feature_channels)
            self.head = AffinityHead(channels, dilations=dilations, kernel=kernel, width=width)
        self.propagation = propagation

    def forward(self, image: Tensor, propagate: bool = True) -> Prediction:
        """All outputs for `image` (N, 3, H, W); without `propagate`, no refined map."""
        scores, features = self.segment(image)
        size = image.shape[-2:]
        pairs = None if self.head is None else self.head(features, self.grid(scores, size))
        refined = None
        if propagate and self.propagation is not None and pairs is not None:
            refined = self.refine(scores, pairs, size)
        return Prediction(log_probabilities(scores, size), pairs, refined)

    def segment(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The segmenter's scores and features; the features are the image where no head needs them."""
        if self.head is None:
            return self.segmenter(image).to(image.dtype), image
        scores, features = cast(Any, self.segmenter).forward_with_features(image)
        return scores.to(image.dtype), features

    def grid(self, scores: Tensor, size: Sequence[int]) -> tuple[int, int]:
        """Rows and columns of the affinities for an image of `size`."""
        if self.stride is None:
            return scores.shape[-2], scores.shape[-1]
        return -(-size[0] // self.stride), -(-size[1] // self.stride)

    def refine(self, scores: Tensor, pairs: Tensor, size: Sequence[int]) -> Tensor:
        """Log-probabilities (N, K, H, W) at `size`, after the propagation."""
        if self.propagation is None:
            raise RuntimeError("this network has no propagation; make it with propagation=AffinityPropagation(...)")
        return as_log_probabilities(self.propagation(on_grid(scores, pairs), pairs), size)


def log_probabilities(scores: Tensor, size: Sequence[int]) -> Tensor:
    """Log-probabilities at `size`, where class scores come at whatever resolution. (N, K, H, W)"""
    return resize(scores, size).log_softmax(dim=1)


def on_grid(scores: Tensor, pairs: Tensor) -> Tensor:
    """Probabilities where the pairs lie. (N, K, h, w)"""
    return resize(scores, pairs.shape[-2:]).softmax(dim=1)


def as_log_probabilities(shares: Tensor, size: Sequence[int]) -> Tensor:
    """Log-probabilities at `size` of propagated probabilities. (N, K, H, W)

    Logarithms are enlarged, as class scores are, so that zero steps of propagation give the segmenter's own result.
    """
    return log_probabilities(shares.clamp_min(1e-12).log(), size)
