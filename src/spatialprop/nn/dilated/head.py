"""The network head that predicts which neighbours share a pixel's class, and the order of its output."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spatialprop.nn.resize import resize
from spatialprop.nn.segmenters.features import reduced
from spatialprop.ops.spreading.pairs import check_neighbourhood, neighbour_offsets, neighbours


class AffinityHead(nn.Module):
    """Predict for pairs of pixels at several dilations whether both are of one class.

    A pair is predicted once, at the end that comes first in reading order, so that its two ends cannot contradict each
    other; `both_ends` copies it to the other end. Each dilation has a branch of its own: a convolution whose kernel
    covers just the pixel and its neighbours at that dilation, and a 1 x 1 convolution.

    Args:
        in_channels: Channels of the features.
        dilations: Distinct distances between neighbours.
        kernel: Odd side of the square in which neighbours lie.
        width: Channels in between, a multiple of 4.

    Example:
        >>> head = AffinityHead(64, dilations=(1, 2, 4))
        >>> head(torch.rand(1, 64, 24, 32)).shape  # four of eight neighbours at each dilation come later
        torch.Size([1, 12, 24, 32])
    """

    def __init__(
        self, in_channels: int, *, dilations: Sequence[int] = (1, 2, 4, 8), kernel: int = 3, width: int = 16
    ) -> None:
        super().__init__()
        check_neighbourhood(dilations, kernel)
        self.dilations = tuple(dilations)
        self.kernel = kernel
        self.reduce = reduced(in_channels, width)
        self.look = nn.ModuleList(
            nn.Conv2d(width, width, kernel, padding=dilation * (kernel // 2), dilation=dilation)
            for dilation in self.dilations
        )
        self.judge = nn.ModuleList(nn.Conv2d(width, (kernel**2 - 1) // 2, 1) for _ in self.dilations)

    def forward(self, features: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """Logits (N, P / 2, h, w) of later neighbours, for features (N, in_channels, H, W) brought to `size` (h, w)."""
        x = self.reduce(features)
        x = x if size is None else resize(x, size)
        return torch.cat([judge(F.relu(look(x))) for look, judge in zip(self.look, self.judge, strict=True)], dim=1)


def later_half(neighbourhood: Tensor, dilations: Sequence[int]) -> Tensor:
    """Select from (N, P, H, W) the neighbours that come after their pixel in reading order. (N, P / 2, H, W)

    Example:
        >>> later_half(torch.arange(8).reshape(1, 8, 1, 1), dilations=[1]).flatten().tolist()
        [4, 5, 6, 7]
    """
    each = neighbourhood.chunk(len(dilations), dim=1)
    return torch.cat([of_dilation[:, of_dilation.shape[1] // 2 :] for of_dilation in each], dim=1)


def both_ends(pairs: Tensor, dilations: Sequence[int], kernel: int = 3) -> Tensor:
    """Copy the value of each pair from its first end to both; zero where the neighbour lies outside.

    Args:
        pairs: (N, P / 2, H, W), the neighbours that come later in reading order, as `AffinityHead` has them.
        dilations: Distances between neighbours.
        kernel: Odd side of the square in which neighbours lie.

    Returns:
        (N, P, H, W), all neighbours, in the order of `neighbour_labels` and `spread`.

    Example:
        >>> pairs = torch.zeros(1, 4, 1, 3)
        >>> pairs[0, 0] = torch.tensor([0.3, 0.7, 0.9])  # with the neighbour to the right
        >>> both_ends(pairs, dilations=[1])[0, [3, 4], 0]  # to the left, to the right
        tensor([[0.0000, 0.3000, 0.7000],
                [0.3000, 0.7000, 0.0000]])
    """
    offsets = neighbour_offsets(dilations, kernel)
    count = kernel**2 - 1
    if pairs.dim() != 4 or 2 * pairs.shape[1] != len(offsets):
        raise ValueError(
            f"pairs must be (N, {len(offsets) // 2}, H, W), half of {len(dilations)} dilations x {count} neighbours; "
            f"got {tuple(pairs.shape)}"
        )
    inside = neighbours(torch.ones_like(pairs[0, 0], dtype=torch.bool), offsets)
    maps: list[Tensor] = []
    for place, later in enumerate(pairs.chunk(len(dilations), dim=1)):
        first = place * count
        # The m-th neighbour is the other end of the m-th last one.
        earlier = [
            neighbours(pair, [offset])[0]
            for pair, offset in zip(later.flip(1).unbind(1), offsets[first : first + count // 2], strict=True)
        ]
        after = range(first + count // 2, first + count)
        maps += earlier + [pair.where(inside[n], 0) for n, pair in zip(after, later.unbind(1), strict=True)]
    return torch.stack(maps, dim=1)
