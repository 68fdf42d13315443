"""What a refinement takes of a segmenter: the probabilities of the classes, no finer than they are worth keeping."""

from torch import Tensor, nn
from torch.nn import functional as F

from spatialprop.nn.segmenters.cells import cells

STRIDE = 8  # pixels to a cell of the maps, or more if the segmenter gives coarser ones


def coarse_probabilities(segmenter: nn.Module, image: Tensor, stride: int = STRIDE) -> Tensor:
    """The class probabilities of `image` (N, 3, H, W), averaged over cells of `stride` pixels. (N, K, h, w)

    Example:
        >>> import torch
        >>> coarse_probabilities(torch.nn.Conv2d(3, 5, 1), torch.rand(1, 3, 60, 80)).shape
        torch.Size([1, 5, 8, 10])
    """
    if stride < 1:
        raise ValueError(f"stride must be at least 1 pixel; got {stride}")
    probabilities = segmenter(image).to(image.dtype).softmax(dim=1)
    size = cells(image.shape[-2:], stride)
    return F.interpolate(probabilities, size=size, mode="area") if probabilities.shape[-2] > size[0] else probabilities
