"""What a coarse map says, whatever its classes are and however many: hints for a guidance network."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

LABEL_BORDERS = 2  # channels of `label_borders`
COLOUR_HINTS = 7  # channels of `colour_hints` for each window
_SMALLEST_SHARE = 1e-3  # of a window, below which nothing is known about its colours
_SMALLEST_VARIANCE = 4e-4  # of a colour from 0 to 1: noise of two hundredths


def label_borders(labels: Tensor) -> Tensor:
    """Where the pixel to the right, or the one below, has another label. (N, 2, H, W), 0 or 1

    Example:
        >>> label_borders(torch.tensor([[[0, 0, 1]]]))[0, 0]
        tensor([[0., 1., 0.]])
    """
    beside = F.pad(labels[..., 1:] != labels[..., :-1], (0, 1))
    below = F.pad(labels[:, 1:] != labels[:, :-1], (0, 0, 0, 1))
    return torch.stack([beside, below], dim=1).float()


def certainty(shares: Tensor) -> Tensor:
    """The share of the most likely class, and how many are about equally likely. (N, 2, H, W), from 0 to 1

    The second is 1 - sum of squares: 0 where one class is certain, 1 - 1/n where n are equally likely.
    """
    return torch.stack([shares.amax(dim=1), 1 - shares.square().sum(dim=1)], dim=1)


def agreement(shares: Tensor, offsets: Sequence[int]) -> Tensor:
    """How likely a pixel and those `offsets` away from it have one label: right, down, left and up of each offset.

    Beyond the image lies what lies on its edge.

    Args:
        shares: Probabilities (N, K, H, W).
        offsets: Distances in pixels.

    Returns:
        Agreements (N, 4 * len(offsets), H, W), from 0 to 1.

    Example:
        >>> shares = torch.tensor([[[[1.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]]]])
        >>> agreement(shares, [1])[0, 0]
        tensor([[1., 0., 1.]])
    """
    height, width = shares.shape[2:]
    found = []
    for offset in offsets:
        across = F.pad(shares, (offset, offset, 0, 0), mode="replicate")
        across = (across[..., offset:] * across[..., :-offset]).sum(dim=1)  # of each pixel with the one to its left
        along = F.pad(shares, (0, 0, offset, offset), mode="replicate")
        along = (along[..., offset:, :] * along[..., :-offset, :]).sum(dim=1)
        found += [across[..., offset:], along[:, offset:], across[..., :width], along[:, :height]]
    return torch.stack(found, dim=1)


def colour_hints(image: Tensor, shares: Tensor, windows: Sequence[int]) -> Tensor:
    """How a pixel's colour compares with those of its own label around it, and with those of all others around it.

    For each window the pixel's colour less the mean colour of its own label, less that of the others, and which of the
    two it fits better: the difference of the logarithms of two normal densities, from -1 (others) to 1 (own).

    Args:
        image: Colours (N, 3, H, W), from 0 to 1.
        shares: Probabilities (N, K, H, W).
        windows: Sides of the windows in pixels.

    Returns:
        Hints (N, 7 * len(windows), H, W).
    """
    seen = torch.cat([torch.ones_like(image[:, :1]), image, image.square()], dim=1)  # (N, 7, H, W)
    found = []
    for window in windows:
        whole = _around(seen, window)
        own = torch.zeros_like(seen)
        for k in range(shares.shape[1]):
            share = shares[:, k, None]
            own.addcmul_(_around(seen * share, window), share)
        densities = []
        for sums in (own, whole - own):
            share = sums[:, :1]
            known = (share / _SMALLEST_SHARE).clamp(0, 1)
            mean = sums[:, 1:4] / share.clamp_min(_SMALLEST_SHARE)
            square = sums[:, 4:] / share.clamp_min(_SMALLEST_SHARE)
            variance = (square - mean.square()).clamp_min(_SMALLEST_VARIANCE)
            difference = (image - mean) * known
            found.append(difference)
            density = (difference.square() / variance + variance.log()).mean(dim=1, keepdim=True)
            densities.append((density, known))
        (mine_density, mine_known), (other_density, other_known) = densities
        found.append(torch.tanh((other_density - mine_density) / 4) * mine_known * other_known)
    return torch.cat(found, dim=1)


def _around(maps: Tensor, window: int) -> Tensor:
    """Means over windows that stand side by side from the upper left corner on, and between them what lies between."""
    height, width = maps.shape[2:]
    means = F.avg_pool2d(maps, window, ceil_mode=True)
    return F.interpolate(means, scale_factor=window, mode="bilinear", align_corners=False)[..., :height, :width]
