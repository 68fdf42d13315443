"""Pairs of pixels at several dilations: where a pixel's neighbours lie, and which of them share its class."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from spatialprop.ops.contract import is_integer


def neighbour_offsets(dilations: Sequence[int], kernel: int) -> list[tuple[int, int]]:
    """(row, column) of each neighbour relative to its pixel: row-major within a dilation, dilations in their order."""
    reach = range(-(kernel // 2), kernel // 2 + 1)
    square = [(row, column) for row in reach for column in reach if (row, column) != (0, 0)]
    return [(dilation * row, dilation * column) for dilation in dilations for row, column in square]


def neighbours(image: Tensor, offsets: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Shift an image (..., H, W) by each offset, so that each pixel gets that neighbour, or zero beyond the border."""
    height, width = image.shape[-2:]
    if not torch.compiler.is_compiling():  # the graph would depend on whether each offset exceeds the size
        # Beyond the image all offsets find zeros: the padding need not be wider than the image.
        offsets = [(_at_most(row, height), _at_most(column, width)) for row, column in offsets]
    above, beside = (max(map(abs, places)) for places in zip(*offsets, strict=True))
    padded = F.pad(image, (beside, beside, above, above))
    return [
        padded[..., above + row : above + row + height, beside + column : beside + column + width]
        for row, column in offsets
    ]


def neighbour_labels(
    labels: Tensor, dilations: Sequence[int], kernel: int = 3, ignore_index: int | None = 255
) -> Tensor:
    """Tell for each pixel which of its neighbours have its label.

    Both pixels of a pair get the same value.

    Args:
        labels: (N, H, W), any type of integers.
        dilations: Distinct distances between neighbours, in pixels.
        kernel: Odd side of the square in which neighbours lie; 3 gives each pixel eight of them at each dilation.
        ignore_index: Label of pixels that do not count, None if all do.

    Returns:
        (N, P, H, W), int8, P = len(dilations) * (kernel**2 - 1), neighbours in row-major order within a dilation:
        1 same class, 0 another class, -1 not to be counted, because either pixel is ignored or the neighbour lies
        outside the image.

    Example:
        >>> import torch
        >>> from spatialprop.ops import neighbour_labels
        >>> labels = torch.tensor([[[7, 7, 2, 255]]])
        >>> pairs = neighbour_labels(labels, dilations=[1])  # index 3: the neighbour to the left, 4: to the right
        >>> pairs[0, [3, 4], 0]
        tensor([[-1,  1,  0, -1],
                [ 1,  0, -1, -1]], dtype=torch.int8)
    """
    check_neighbourhood(dilations, kernel)
    if not isinstance(labels, Tensor):
        raise TypeError(f"labels must be a torch.Tensor; got {type(labels).__name__}")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"labels must be integers; got {labels.dtype}. Convert with .long()")
    if labels.dim() != 3:
        raise ValueError(f"labels must be (N, H, W); got {labels.dim()} dimensions, {tuple(labels.shape)}")
    if 0 in labels.shape:
        raise ValueError(f"labels must not be empty: every size must be at least 1; got {tuple(labels.shape)}")
    if ignore_index is not None and not is_integer(ignore_index):
        raise TypeError(f"ignore_index must be an integer, or None if all pixels count; got {ignore_index!r}")
    labels = labels.long()  # the label to ignore need not fit into a narrow type
    counts = torch.ones_like(labels, dtype=torch.bool) if ignore_index is None else labels != ignore_index
    offsets = neighbour_offsets(dilations, kernel)
    pairs = [
        torch.where(counts & other_counts, labels == other, -1).to(torch.int8)
        for other, other_counts in zip(neighbours(labels, offsets), neighbours(counts, offsets), strict=True)
    ]
    return torch.stack(pairs, dim=1)


def _at_most(offset: int, side: int) -> int:
    return max(-side, min(offset, side))


def check_neighbourhood(dilations: Sequence[int], kernel: int) -> None:
    if not isinstance(dilations, Sequence) or isinstance(dilations, str):
        raise TypeError(f"dilations must be a sequence of integers; got {dilations!r}. One dilation d is written [d]")
    if not all(is_integer(dilation) for dilation in dilations):
        raise TypeError(f"dilations must be integers; got {tuple(dilations)}")
    if not dilations or min(dilations) < 1 or len(set(dilations)) != len(dilations):
        raise ValueError(f"dilations must be one or more distinct integers from 1 up; got {tuple(dilations)}")
    if not is_integer(kernel):
        raise TypeError(f"kernel must be an integer; got {kernel!r}")
    if kernel < 3 or kernel % 2 == 0:
        raise ValueError(f"kernel must be odd and at least 3, so that a pixel lies in its middle; got {kernel}")
