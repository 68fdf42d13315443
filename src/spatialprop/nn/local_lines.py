"""What known values say of unknown ones nearby, if values are locally linear in colour."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

_FLAT = 1e-3  # variance of colour (0 to 1) below which a window says nothing of how values depend on it
_FEW = 1e-4  # share of a window that must be known to count


def local_lines(
    image: Tensor, values: Tensor, confidence: Tensor, windows: Sequence[int], bounds: tuple[float, float]
) -> Tensor:
    """Predictions of local linear models, and how much they know: (N, len(windows) * (C + 1), H, W).

    In each window the known values are fitted as a linear function of the image's channels, every pixel counting by its
    confidence; that is what closed-form matting and colorization by optimisation assume of colours. Models of
    neighbouring windows blend into each other. Where a window knows nothing, so does its model: the share of what is
    known, to the power of a quarter, says it.

    Args:
        image: (N, I, H, W), from 0 to 1.
        values: (N, C, H, W).
        confidence: (N, 1, H, W).
        windows: Sides of the windows in pixels.
        bounds: Predictions end there.

    Example:
        >>> image = torch.rand(1, 3, 32, 32)
        >>> known = (torch.rand(1, 1, 32, 32) < 0.3).float()
        >>> values = image[:, :1] / 2 + 0.1
        >>> bool((local_lines(image, values * known, known, [16], (0.0, 1.0))[:, :1] - values).abs().max() < 0.05)
        True
    """
    (count, channels, height, width), depth = image.shape, values.shape[1]
    pairs = [(i, j) for i in range(channels) for j in range(i, channels)]
    products = torch.stack([image[:, i] * image[:, j] for i, j in pairs], dim=1)
    mixed = torch.cat([image * values[:, one, None] for one in range(depth)], dim=1)
    sums = torch.cat([torch.ones_like(confidence), image, products, values, mixed], dim=1) * confidence
    found = []
    for window in windows:
        grid = (max(1, -(-2 * height // window)), max(1, -(-2 * width // window)))  # windows overlap by half
        pooled = F.avg_pool2d(F.adaptive_avg_pool2d(sums, grid), 3, 1, 1, count_include_pad=False).double()
        sizes = [1, channels, len(pairs), depth, depth * channels]
        share, mean, square, value, product = torch.split(pooled, sizes, dim=1)
        weight = share.clamp_min(1e-12)
        mean, value = mean / weight, value / weight
        covariance = torch.zeros(count, *grid, channels, channels, dtype=torch.float64, device=image.device)
        for place, (i, j) in enumerate(pairs):
            covariance[..., i, j] = covariance[..., j, i] = square[:, place] / weight[:, 0] - mean[:, i] * mean[:, j]
        # Few known pixels fit any line: they say more of the mean than of the slope.
        flat = _FLAT * (1 + _FEW / weight[:, 0]).clamp_max(1e6)
        covariance = covariance + flat[..., None, None] * torch.eye(channels, dtype=torch.float64, device=image.device)
        product = (product / weight).view(count, depth, channels, *grid)
        wanted = (product - mean[:, None] * value[:, :, None]).permute(0, 3, 4, 2, 1)  # (N, h, w, I, C)
        slope = torch.linalg.solve(covariance, wanted).permute(0, 4, 3, 1, 2)  # (N, C, I, h, w)
        level = value - (slope * mean[:, None]).sum(dim=2)
        lines = torch.cat([slope.flatten(1, 2), level, share], dim=1).to(image.dtype)
        lines = F.interpolate(lines, size=(height, width), mode="bilinear", align_corners=False)
        slopes, level, share = torch.split(lines, [depth * channels, depth, 1], dim=1)
        slopes = slopes.reshape(count, depth, channels, height, width)
        predicted = level + (slopes * image[:, None]).sum(dim=2)
        found += [predicted.clamp(*bounds), share.clamp_min(0).pow(0.25)]
    return torch.cat(found, dim=1)
