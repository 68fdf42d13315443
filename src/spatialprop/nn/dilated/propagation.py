"""Propagation of a map along predicted affinities."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spatialprop.nn.dilated.head import both_ends
from spatialprop.ops import DIRECTIONS, propagate, spread
from spatialprop.ops.backends import check_backend
from spatialprop.ops.contract import check_integer, check_merge, check_number
from spatialprop.ops.spreading.pairs import check_neighbourhood, neighbour_offsets

KINDS = ("spread", "scan")
# For each direction of a scan, the offsets (row, column) of the three neighbours in the line before.
_BEFORE = {
    "right": ((-1, -1), (0, -1), (1, -1)),
    "down": ((-1, -1), (-1, 0), (-1, 1)),
    "left": ((-1, 1), (0, 1), (1, 1)),
    "up": ((1, -1), (1, 0), (1, 1)),
}


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
        """Propagate `x` (N, C, H, W) by `steps`, given logits `pairs` (N, P / 2, H, W) of later neighbours."""
        return self.run(x, self.weights(pairs), self.steps if steps is None else steps)

    def weights(self, pairs: Tensor) -> Tensor:
        """The weight of each neighbour, where that of the pixel itself is 1. (N, P, H, W)"""
        # In half precision, powers of values close to 1 would be far off.
        shares = torch.exp(self.power * F.logsigmoid(pairs.float())) / self.own_weight
        return both_ends(shares, self.dilations, self.kernel)

    def run(self, x: Tensor, weights: Tensor, steps: int) -> Tensor:
        """Propagate `x` by `steps` with given `weights`, in their dtype. (N, C, H, W)"""
        # Under autocast x would have 8 bits, too few for probabilities and their logarithms.
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
