"""Draw affinity.png: what one-way and three-way propagation do to a ragged mask, and a pixel's affinities in each.

    python results/affinity.py

Nothing is learned here. The gates come from differences of colour between neighbours, so that the picture shows the
operator alone.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from spatialprop import normalize_gates, propagate
from spatialprop.ops import DIRECTIONS, affinity_row

SIZE = 128
PIXEL = (70, 52)  # in one half of the hole
# Where a neighbour stands, for each direction: (rows, columns) of the line scanned before, and along that line.
BEHIND = {"right": (0, -1), "down": (-1, 0), "left": (0, 1), "up": (1, 0)}
ALONG = {"right": (1, 0), "down": (0, 1), "left": (1, 0), "up": (0, 1)}


def scene() -> tuple[Tensor, Tensor]:
    """A ring with a spoke on a shaded, noisy ground, and the mask of the ring."""
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    radius = ((y - 64) ** 2 + (x - 64) ** 2).sqrt()
    ring = ((radius > 22) & (radius < 44)) | ((y - x).abs() < 4) & (radius < 30)
    noise = 0.04 * torch.randn(3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    ground = torch.stack([0.35 + 0.2 * x / SIZE, 0.45 + 0 * x, 0.55 - 0.2 * y / SIZE])
    image = torch.where(ring, torch.tensor([0.85, 0.6, 0.3]).view(3, 1, 1), ground) + noise
    return image.clamp(0, 1), ring.float()


def gates_from_colour(image: Tensor, connection: int) -> Tensor:
    """(1, 4, K, 1, H, W): neighbours of like colour are heard; 5 % of each pixel stays its own."""
    padded = F.pad(image[None], (1, 1, 1, 1), mode="replicate")[0]
    gates = []
    for direction in DIRECTIONS:
        for step in (-1, 0, 1) if connection == 3 else (0,):
            row = 1 + BEHIND[direction][0] + step * ALONG[direction][0]
            column = 1 + BEHIND[direction][1] + step * ALONG[direction][1]
            neighbour = padded[:, row : row + SIZE, column : column + SIZE]
            gates.append(torch.exp(-40 * (image - neighbour).square().sum(0)))
    raw = torch.stack(gates).view(1, len(DIRECTIONS), connection, 1, SIZE, SIZE)
    return 0.95 * normalize_gates(raw, "clamp")


def main() -> None:
    image, truth = scene()
    coarse = F.interpolate(F.avg_pool2d(truth[None, None], 16), (SIZE, SIZE), mode="bilinear")
    panels = [("image", image.permute(1, 2, 0)), ("coarse mask", coarse[0, 0])]
    affinities = []
    for name, connection in (("one-way", 1), ("three-way", 3)):
        gates = gates_from_colour(image, connection)
        refined = coarse
        for _ in range(2):
            refined = propagate(refined, gates, merge="mean")
        panels.append((f"{name}, two units", refined[0, 0]))
        affinities.append((f"affinity of one pixel, {name}", affinity_row(gates, PIXEL).mean(1)[0, 0]))

    figure, axes = plt.subplots(1, 6, figsize=(15, 2.75), constrained_layout=True)
    for axis, (title, picture) in zip(axes, panels + affinities, strict=True):
        if title.startswith("affinity"):
            axis.imshow(np.log10(picture.numpy() + 1e-6), cmap="magma", vmin=-5, vmax=-1)
            axis.plot(PIXEL[1], PIXEL[0], "+", color="cyan", markersize=9)
        else:
            axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
        axis.set_title(title, fontsize=10)
        axis.axis("off")
    target = Path(__file__).with_suffix(".png")
    figure.savefig(target, dpi=80)
    print(f"wrote {target.name}")


if __name__ == "__main__":
    main()
