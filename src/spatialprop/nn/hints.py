"""What a coarse map says, whatever its classes are and however many: hints for a guidance network."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from spatialprop.nn.resize import first

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


def colours(image: Tensor) -> Tensor:
    """What means of colours and of their squares are made of, one, colours and squares. (N, 7, H, W)"""
    return torch.cat([torch.ones_like(image[:, :1]), image, image.square()], dim=1)


def around(maps: Tensor, window: int) -> Tensor:
    """Means over windows that stand side by side from the upper left corner on, and between them what lies between."""
    exporting = torch.compiler.is_exporting()
    means = _means_for_export(maps, window) if exporting else F.avg_pool2d(maps, window, ceil_mode=True)
    return first(F.interpolate(means, scale_factor=window, mode="bilinear", align_corners=False), maps.shape[2:])


def _means_for_export(maps: Tensor, window: int) -> Tensor:
    """The same means and the last ones twice: a graph for all sizes must not ask whether there is only one window."""
    windows = [(side + window - 1) // window for side in maps.shape[-2:]]
    missing = [(count + 1) * window - side for count, side in zip(windows, maps.shape[-2:], strict=True)]
    both = maps, torch.ones_like(maps[:1, :1])
    sums, counts = (F.avg_pool2d(F.pad(one, (0, missing[1], 0, missing[0])), window) for one in both)
    for axis, count in zip((-2, -1), windows, strict=True):
        places = torch.arange(count + 1, device=maps.device).clamp_max(count - 1)
        sums, counts = sums.index_select(axis, places), counts.index_select(axis, places)
    return sums / counts


def around_own_label(seen: Tensor, shares: Tensor, window: int) -> Tensor:
    """The part of `around` that has the label of the pixel, for some of the classes; it sums up over classes.

    Args:
        seen: Maps (N, C, H, W).
        shares: Probabilities of some classes (N, k, H, W).
        window: Side of the windows in pixels.
    """
    if torch.compiler.is_exporting():  # a graph for any number of classes has no loop over them
        parts = seen[:, None] * shares[:, :, None]
        return (around(parts.flatten(0, 1), window).reshape(parts.shape) * shares[:, :, None]).sum(dim=1)
    own = torch.zeros_like(seen)
    for k in range(shares.shape[1]):
        share = shares[:, k, None]
        own.addcmul_(around(seen * share, window), share)
    return own


def colour_hints(image: Tensor, own: Tensor, whole: Tensor) -> Tensor:
    """How a pixel's colour compares with those of its own label around it, and with those of all others around it.

    The pixel's colour less the mean colour of its own label, less that of the others, and which of the two it fits
    better: the difference of the logarithms of two normal densities, from -1 (others) to 1 (own).

    Args:
        image: Colours (N, 3, H, W), from 0 to 1.
        own: `around_own_label` of `colours(image)`, for all classes.
        whole: `around` of `colours(image)`.

    Returns:
        Hints (N, 7, H, W).
    """
    found, densities = [], []
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
    (own_density, own_known), (other_density, other_known) = densities
    found.append(torch.tanh((other_density - own_density) / 4) * own_known * other_known)
    return torch.cat(found, dim=1)
