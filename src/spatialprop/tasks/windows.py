"""Inference in overlapping windows, for images that are too large for the memory."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

# A multiple of every network's stride, so that windows pool the same pixels together as the whole image does and
# differ from it by their missing surroundings only.
GRID = 32


@dataclass(frozen=True)
class Windows:
    """Apply a network to windows of an image and blend the results.

    Args:
        size: Side of a window, a multiple of 32; None takes the image as a whole.
        overlap: Minimum overlap of neighbouring windows, a multiple of 32. There their probabilities are blended, with
            weights that fall towards each window's edge.

    Example:
        >>> brightness = torch.linspace(0.1, 0.9, 100).expand(1, 2, 70, 100)
        >>> blended = Windows(size=64, overlap=32)(torch.log, brightness)
        >>> torch.allclose(blended, brightness.log(), atol=1e-5)
        True
    """

    size: int | None = None
    overlap: int = 128

    def __post_init__(self) -> None:
        if self.size is not None and (self.size < GRID or self.size % GRID):
            raise ValueError(f"window must be a multiple of {GRID} pixels; got {self.size}, take {_next(self.size)}")
        if self.size is not None and not (0 <= self.overlap < self.size and self.overlap % GRID == 0):
            raise ValueError(
                f"overlap must be a multiple of {GRID} pixels, at least 0 and less than the window; "
                f"got overlap = {self.overlap}, window = {self.size}"
            )

    def __call__(self, log_probabilities: Callable[..., Tensor], *maps: Tensor) -> Tensor:
        """The blended result for `maps` (N, C, H, W), all of one size. (N, any number of channels, H, W)"""
        height, width = maps[0].shape[-2:]
        if self.covers(height, width):
            return log_probabilities(*maps)
        rows, columns = self._spans(height), self._spans(width)
        row_weights, column_weights = self._weights(rows, height, maps[0]), self._weights(columns, width, maps[0])
        blended: Tensor | None = None
        for (row, row_weight), (column, column_weight) in product(
            zip(rows, row_weights, strict=True), zip(columns, column_weights, strict=True)
        ):
            part = log_probabilities(*(one[..., row, column] for one in maps)).float().exp()
            if blended is None:
                blended = part.new_zeros(*part.shape[:-2], height, width)
            blended[..., row, column] += part * row_weight[row, None] * column_weight[column]
        assert blended is not None
        return blended.clamp_min(torch.finfo(blended.dtype).tiny).log()

    def covers(self, height: int, width: int) -> bool:
        """Whether a whole image fits into one window."""
        return self.size is None or (height <= self.size and width <= self.size)

    def affinity(self, affinity: Callable[..., Tensor], pixel: tuple[int, int], *maps: Tensor) -> Tensor:
        """The affinity of `pixel` within the window whose centre is nearest to it; zero outside of that. (H, W)

        `affinity` is called with the window's part of `maps` and the pixel's position in it.
        """
        size = maps[0].shape[-2:]
        rows, columns = self._around(pixel, *size)
        place = (pixel[0] - rows.start, pixel[1] - columns.start)
        with torch.inference_mode(False):  # the affinity is a gradient
            whole = maps[0].new_zeros(size)
            whole[rows, columns] = affinity(*(one[..., rows, columns].clone() for one in maps), place)
        return whole

    def _around(self, pixel: tuple[int, int], height: int, width: int) -> tuple[slice, slice]:
        def span(place: int, length: int) -> slice:
            return min(
                self._spans(length),
                key=lambda one: (not one.start <= place < one.stop, abs(one.start + one.stop - 1 - 2 * place)),
            )

        return span(pixel[0], height), span(pixel[1], width)

    def _spans(self, length: int) -> list[slice]:
        if self.size is None or length <= self.size:
            return [slice(0, length)]
        last = _next(length - self.size)
        starts = [*range(0, last, self.size - self.overlap), last]
        return [slice(start, min(start + self.size, length)) for start in starts]

    def _weights(self, spans: list[slice], length: int, like: Tensor) -> list[Tensor]:
        """The weight of each window at each pixel: ramps over the overlap that add up to one. (length,)"""
        places = torch.arange(length, device=like.device, dtype=torch.float32) + 0.5
        ramps = []
        for span in spans:
            inside = torch.ones_like(places)
            for edge, distance in ((span.start, places - span.start), (span.stop, span.stop - places)):
                if 0 < edge < length:
                    inside *= (distance / max(1, self.overlap)).clamp(0, 1)
            inside[: span.start] = 0
            inside[span.stop :] = 0
            ramps.append(inside)
        total = torch.stack(ramps).sum(dim=0)
        return [ramp / total for ramp in ramps]


def _next(length: int) -> int:
    """The next multiple of the grid."""
    return max(GRID, -(-length // GRID) * GRID)
