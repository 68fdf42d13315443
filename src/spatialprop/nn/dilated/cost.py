"""The cost of segmenter, affinity head and propagation: parameters and floating-point operations."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from spatialprop.nn.dilated.network import DilatedAffinityNetwork, on_grid
from spatialprop.nn.dilated.propagation import AffinityPropagation
from spatialprop.ops import DIRECTIONS

PARTS = ("segmenter", "head", "propagation")


def spread_flops(x: Sequence[int], neighbours: int, steps: int) -> int:
    """Operations of `spread`: P multiplications and additions and one division for each value and step.

    The sum of the weights, P additions a pixel, is taken once, if there is a step at all.

    Example:
        >>> spread_flops((1, 3, 10, 10), neighbours=8, steps=2)
        11000
    """
    batch, channels, height, width = x
    return batch * height * width * (neighbours * (steps > 0) + steps * channels * (2 * neighbours + 1))


def propagate_flops(x: Sequence[int], gates: Sequence[int]) -> int:
    """Operations of `propagate`: for each value and direction K + 1 products, K sums and one for the merge.

    The sum of the gates, K operations a pixel, direction and group, comes once.

    Example:
        >>> propagate_flops((1, 3, 10, 10), (1, 4, 3, 1, 10, 10))
        10800
    """
    directions, connection = gates[1], gates[2]
    return prod(gates) + prod(x) * directions * (2 * connection + 2)


def parameters(network: DilatedAffinityNetwork) -> dict[str, int]:
    """Parameters of each part; the propagation has none."""
    parts = {part: getattr(network, part) for part in PARTS}
    return {
        part: sum(parameter.numel() for parameter in module.parameters())
        for part, module in parts.items()
        if module is not None
    }


@torch.no_grad()
def flops(network: DilatedAffinityNetwork, image: Tensor) -> dict[str, int]:
    """Floating-point operations of each part for one `image` (1, 3, H, W), a product and a sum counting two.

    Convolutions and matrix products are counted by PyTorch, the propagation by the formulas above, whichever backend
    runs it. As usual, copies and ReLUs are not counted.

    Example:
        >>> from spatialprop.nn.segmenters import UNet
        >>> network = DilatedAffinityNetwork(UNet(5), dilations=(1, 2))
        >>> flops(network, torch.rand(1, 3, 64, 64))["head"]  # 8 x 8 cells
        671744
    """
    counted: dict[str, int] = {}
    scores, features = _counted(lambda: network.segment(image), counted, "segmenter")
    if network.head is None:
        return counted
    head = network.head
    pairs = _counted(lambda: head(features, network.grid(scores, image.shape[-2:])), counted, "head")
    if network.propagation is not None:
        counted["propagation"] = _propagation_flops(network.propagation, on_grid(scores, pairs).shape)
    return counted


def _propagation_flops(propagation: AffinityPropagation, x: Sequence[int]) -> int:
    if propagation.kind == "spread":
        neighbours = len(propagation.dilations) * (propagation.kernel**2 - 1)
        return spread_flops(x, neighbours, propagation.steps)
    batch, _, height, width = x
    return propagation.steps * propagate_flops(x, (batch, len(DIRECTIONS), 3, 1, height, width))


def _counted(run: Callable[[], Any], counted: dict[str, int], part: str) -> Any:
    with FlopCounterMode(display=False) as counter:
        result = run()
    counted[part] = counter.get_total_flops()
    return result
