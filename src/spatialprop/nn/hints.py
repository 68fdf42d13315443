"""What a coarse map says, whatever its classes are and however many: hints for a guidance network."""

import itertools
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
        across, along = _apart(shares, offset, 3), _apart(shares, offset, 2)
        found += [across[..., offset:], along[:, offset:], across[..., :width], along[:, :height]]
    return torch.stack(found, dim=1)


def _apart(shares: Tensor, offset: int, axis: int) -> Tensor:
    """How likely a pixel and the one `offset` before it have one label, on to `offset` beyond the image."""
    size = shares.shape[axis]
    lowest, highest = shares.narrow(axis, 0, 1), shares.narrow(axis, size - 1, 1)
    if torch.compiler.is_exporting() or offset >= size:
        before, after = (torch.cat(offset * [edge], dim=axis) for edge in (lowest, highest))
        padded = torch.cat([before, shares, after], dim=axis)
        return same_label(padded.narrow(axis, offset, size + offset), padded.narrow(axis, 0, size + offset))
    rest = size - offset  # without a copy of the map
    pairs = [
        (shares.narrow(axis, 0, offset), lowest),
        (shares.narrow(axis, offset, rest), shares.narrow(axis, 0, rest)),
        (highest, shares.narrow(axis, rest, offset)),
    ]
    return torch.cat([same_label(*pair) for pair in pairs], dim=axis - 1)


def same_label(one: Tensor, other: Tensor) -> Tensor:
    """How likely pixels of two maps have one label. (N, H, W)"""
    return (one * other).sum(dim=1)


def colours(image: Tensor) -> Tensor:
    """What means of colours and of their squares are made of, one, colours and squares. (N, 7, H, W)"""
    return torch.cat([torch.ones_like(image[:, :1]), image, image.square()], dim=1)


def around(maps: Tensor, window: int) -> Tensor:
    """Means over windows that stand side by side from the upper left corner on, and between them what lies between."""
    height, width = maps.shape[2:]
    counts = [(side + window - 1) // window for side in (height, width)]
    # One window more each way than fits, so that no size is one, which a graph for all sizes must not ask for.
    beyond = (0, (counts[1] + 1) * window - width, 0, (counts[0] + 1) * window - height)
    rows, columns = (torch.arange(count + 1, device=maps.device).clamp_max(count - 1) for count in counts)
    sums, inside = (
        F.avg_pool2d(F.pad(some, beyond), window).index_select(2, rows).index_select(3, columns)
        for some in (maps, torch.ones_like(maps[:1, :1]))
    )
    means = sums / inside
    return F.interpolate(means, scale_factor=window, mode="bilinear", align_corners=False)[..., :height, :width]


def around_own_label(seen: Tensor, shares: Tensor, window: int) -> Tensor:
    """The part of `around` that has the label of the pixel, for some of the classes; it sums up over classes.

    With one class that has all of each pixel it is `around`.

    Args:
        seen: Maps (N, C, H, W).
        shares: Probabilities of some classes (N, k, H, W).
        window: Side of the windows in pixels.
    """
    height, width = shares.shape[2:]
    # One window more each way than fits, so that no size is one, which a graph for all sizes must not ask for.
    rows, columns = ((side + window - 1) // window for side in (height, width))
    counts = (rows + 1, columns + 1)
    inside = _blocks(torch.ones_like(seen[:1, :1]), window, counts).sum(dim=-1, keepdim=True).clamp_min(1)
    means = _blocks(seen, window, counts) @ (_blocks(shares, window, counts) / inside).mT  # of each class (..., C, k)
    # Each pixel hears the four windows whose centres it lies between: so do all of a block from centre to centre.
    half = window // 2
    between = _blocks(F.pad(shares, (half, 0, half, 0)), window, counts)
    nearness = (torch.arange(window, device=shares.device) + 0.5 - half + window / 2) / window
    own = None
    for lower, right in itertools.product((0, 1), repeat=2):
        weights = torch.outer(*(nearness if far else 1 - nearness for far in (lower, right))).flatten()
        row, column = (
            (torch.arange(count + 1, device=shares.device) - 1 + far).clamp(0, count - 1)
            for count, far in ((rows, lower), (columns, right))
        )
        heard = means.index_select(1, row).index_select(2, column) @ (between * weights)
        own = heard if own is None else own + heard
    assert own is not None
    tiles = own.reshape(*own.shape[:-1], window, window).permute(0, 3, 1, 4, 2, 5)
    maps = tiles.reshape(len(seen), seen.shape[1], (rows + 1) * window, (columns + 1) * window)
    return maps[..., half:, half:][..., :height, :width]


def _blocks(maps: Tensor, side: int, counts: tuple[int, int]) -> Tensor:
    """The pixels of blocks that stand side by side, zero beyond the maps. (N, rows, columns, C, side * side)"""
    height, width = maps.shape[2:]
    maps = F.pad(maps, (0, counts[1] * side - width, 0, counts[0] * side - height))
    blocks = maps.reshape(*maps.shape[:2], counts[0], side, counts[1], side)
    return blocks.permute(0, 2, 4, 1, 3, 5).flatten(-2)


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
    sums = torch.stack([own, whole - own], dim=1)  # (N, 2, 7, H, W)
    share = sums[:, :, :1]
    known = (share / _SMALLEST_SHARE).clamp(0, 1)
    means, squares = torch.split(sums[:, :, 1:] / share.clamp_min(_SMALLEST_SHARE), 3, dim=2)
    variance = (squares - means.square()).clamp_min(_SMALLEST_VARIANCE)
    differences = (image[:, None] - means) * known
    densities = (differences.square() / variance + variance.log()).mean(dim=2, keepdim=True)
    fits = torch.tanh((densities[:, 1] - densities[:, 0]) / 4) * known[:, 0] * known[:, 1]
    return torch.cat([differences.flatten(1, 2), fits], dim=1)
