"""Dilated affinity: predict which neighbours share a pixel's class, and propagate a map along that."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spatialprop.nn.features import reduced
from spatialprop.nn.resize import resize
from spatialprop.ops import DIRECTIONS, propagate, spread
from spatialprop.ops.backends import check_backend
from spatialprop.ops.contract import check_integer, check_merge, check_number
from spatialprop.ops.spreading.pairs import check_neighbourhood, neighbour_offsets, neighbours

KINDS = ("spread", "scan")
# For each direction of a scan, where the three neighbours in the line before lie, as (row, column).
_BEFORE = {
    "right": ((-1, -1), (0, -1), (1, -1)),
    "down": ((-1, -1), (-1, 0), (-1, 1)),
    "left": ((-1, 1), (0, 1), (1, 1)),
    "up": ((1, -1), (1, 0), (1, 1)),
}


class AffinityHead(nn.Module):
    """Say of each pair of pixels at several dilations whether both are of one class.

    A pair is predicted once, at its end that comes first in reading order, so that its two ends cannot contradict each
    other; `both_ends` reads it from the other end. Each dilation has a branch of its own: a convolution whose kernel
    covers just the pixel and its neighbours at that dilation, and a 1 x 1 convolution.

    Args:
        in_channels: Channels of the features that it looks at.
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


class AffinityPropagation(nn.Module):
    """Propagate a map along predicted affinities, by averaging neighbours or by scanning in four directions.

    A pair whose logit is z counts sigmoid(z) ** power. Both kinds take the same weighted average::

        h(p) = (own_weight x(p) + sum_k a_k(p) h(p_k)) / (own_weight + sum_k a_k(p))

    "spread" over all neighbours at once, all pixels in parallel, and x is the h of the step before. "scan" over the
    three neighbours, at distance 1, in the line scanned before, whose h is known already: one step reaches across the
    image. There, `propagate` runs with a_k / (own_weight + sum a) as its gates.

    Args:
        kind: "spread" or "scan".
        dilations, kernel: Those of the head.
        steps: How many steps of averaging, or cascaded scans.
        power: Sharpens affinities: many slightly open pairs across a border would let as much through as one.
        own_weight: Weight of the pixel itself.
        merge: How a scan joins its directions, "mean" or "max".
        backend: See `propagate` and `spread`.

    Example:
        >>> layer = AffinityPropagation("spread", dilations=(1, 2), steps=5)
        >>> x, logits = torch.rand(1, 3, 20, 30).softmax(1), torch.randn(1, 8, 20, 30)
        >>> layer(x, logits).sum(1).allclose(torch.ones(1, 20, 30))
        True
    """

    def __init__(
        self,
        kind: str = "spread",
        *,
        dilations: Sequence[int] = (1, 2, 4, 8),
        kernel: int = 3,
        steps: int = 10,
        power: float = 8.0,
        own_weight: float = 1.0,
        merge: str = "mean",
        backend: str = "auto",
    ) -> None:
        super().__init__()
        check_neighbourhood(dilations, kernel)
        check_merge(merge)
        if kind not in KINDS:
            raise ValueError(
                f"propagation must be one of {', '.join(KINDS)}; got {kind!r}. For none at all: task.propagation=none"
            )
        if kind == "scan" and 1 not in dilations:
            raise ValueError(f"a scan goes from pixel to pixel: dilations must hold 1; got {tuple(dilations)}")
        if merge == "none":
            raise ValueError("merge='none' leaves one map a direction, not one result; use 'mean' or 'max'")
        check_integer("steps", steps, 0)
        check_number("power", power, positive=True)
        check_number("own_weight", own_weight, positive=True)
        check_backend(backend)
        self.kind = kind
        self.dilations = tuple(dilations)
        self.kernel = kernel
        self.steps = steps
        self.power = power
        self.own_weight = own_weight
        self.merge = merge
        self.backend = backend

    def forward(self, x: Tensor, pairs: Tensor, steps: int | None = None) -> Tensor:
        """What `steps` make of `x` (N, C, H, W), given logits `pairs` (N, P / 2, H, W) of later neighbours."""
        return self.run(x, self.weights(pairs), self.steps if steps is None else steps)

    def weights(self, pairs: Tensor) -> Tensor:
        """How much each neighbour counts beside the pixel itself, which counts 1. (N, P, H, W)"""
        # Below single precision, powers of what is nearly 1 would all be 1 or nothing like it.
        shares = torch.exp(self.power * F.logsigmoid(pairs.float())) / self.own_weight
        return both_ends(shares, self.dilations, self.kernel)

    def run(self, x: Tensor, weights: Tensor, steps: int) -> Tensor:
        """So many steps under weights that are known already, in the dtype of `weights`. (N, C, H, W)"""
        # Autocast would make of x what has 8 bits, too few for probabilities and their logarithms.
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(weights.dtype)
            if self.kind == "spread":
                return spread(x, weights, self.dilations, self.kernel, steps, self.backend)
            gates = scan_gates(weights, self.dilations, self.kernel)
            for _ in range(steps):
                x = propagate(x, gates, merge=self.merge, backend=self.backend)
            return x

    def extra_repr(self) -> str:
        return (
            f"{self.kind!r}, dilations={self.dilations}, kernel={self.kernel}, steps={self.steps}, power={self.power}, "
            f"own_weight={self.own_weight}, merge={self.merge!r}, backend={self.backend!r}"
        )


def later_half(neighbourhood: Tensor, dilations: Sequence[int]) -> Tensor:
    """Of (N, P, H, W), the neighbours that come after their pixel in reading order. (N, P / 2, H, W)

    Example:
        >>> later_half(torch.arange(8).reshape(1, 8, 1, 1), dilations=[1]).flatten().tolist()
        [4, 5, 6, 7]
    """
    each = neighbourhood.chunk(len(dilations), dim=1)
    return torch.cat([of_dilation[:, of_dilation.shape[1] // 2 :] for of_dilation in each], dim=1)


def both_ends(pairs: Tensor, dilations: Sequence[int], kernel: int = 3) -> Tensor:
    """What is said of each pair at its first end, said at both ends; zero where the neighbour lies outside.

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


def scan_gates(weights: Tensor, dilations: Sequence[int], kernel: int = 3) -> Tensor:
    """Gates for `propagate` that average each pixel, weight 1, with its neighbours in the line scanned before.

    Args:
        weights: (N, P, H, W) from 0 up, zero outside, in the order of `neighbour_labels`; those at distance 1 count.
        dilations: Distances between neighbours, 1 among them.
        kernel: Odd side of the square in which neighbours lie.

    Returns:
        (N, 4, 3, 1, H, W), which sum to less than 1 in each direction.

    Example:
        >>> scan_gates(torch.ones(1, 8, 5, 5), dilations=[1])[0, :, :, 0, 2, 2].sum(1)
        tensor([0.7500, 0.7500, 0.7500, 0.7500])
    """
    offsets = neighbour_offsets(dilations, kernel)
    gates = torch.stack([weights[:, [offsets.index(o) for o in _BEFORE[name]]] for name in DIRECTIONS], dim=1)
    gates = gates / (1 + gates.sum(2, keepdim=True))
    return gates.unsqueeze(3)
