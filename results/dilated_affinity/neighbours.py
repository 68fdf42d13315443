"""Draw neighbours.png: which neighbours a pixel has at several dilations, and the matrix that they fill.

python results/dilated_affinity/neighbours.py
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from spatialprop.nn.dilated import both_ends
from spatialprop.ops.spreading.pairs import neighbour_offsets

DILATIONS, KERNEL = (1, 2, 4), 3
COLOURS = ("#0969da", "#bc4c00", "#1a7f37")
SIDE = 12  # of the image whose matrix is drawn


def draw_neighbours(axes: Axes) -> None:
    """The pixel, and each neighbour in the colour of its dilation: filled if the pair is predicted at this pixel."""
    reach = max(DILATIONS) * (KERNEL // 2)
    each = KERNEL**2 - 1
    for place, (row, column) in enumerate(neighbour_offsets(DILATIONS, KERNEL)):
        colour = COLOURS[place // each]
        later = place % each >= each // 2
        axes.plot([0, column], [0, row], color=colour, linewidth=0.8, alpha=0.5 if later else 0.15, zorder=1)
        axes.text(
            column, row, str(place), ha="center", va="center", fontsize=8, color="white" if later else colour,
            bbox={"boxstyle": "circle", "facecolor": colour if later else "white", "edgecolor": colour},
        )  # fmt: skip
    axes.plot(0, 0, "ks", markersize=11)
    axes.set(xlim=(-reach - 0.7, reach + 0.7), ylim=(reach + 0.7, -reach - 0.7), aspect="equal")
    axes.set_xticks(np.arange(-reach - 0.5, reach + 1), [])
    axes.set_yticks(np.arange(-reach - 0.5, reach + 1), [])
    axes.tick_params(length=0)
    axes.grid(color="#d0d7de", linewidth=0.6)
    axes.set_title("the neighbours of a pixel, as they are numbered", fontsize=10)
    swatches = [Line2D([], [], color=colour, marker="o", linestyle="") for colour in COLOURS]
    names = [f"dilation {dilation}" for dilation in DILATIONS]
    axes.legend(swatches, names, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 0), frameon=False, fontsize=9)


def draw_matrix(axes: Axes) -> None:
    """Which pairs of pixels of a small image have an affinity: its rows and columns are pixels in reading order."""
    pairs = torch.ones(1, len(neighbour_offsets(DILATIONS, KERNEL)) // 2, SIDE, SIDE)
    inside = both_ends(pairs, DILATIONS, KERNEL)[0] > 0  # (P, H, W)
    for place, (row, column) in enumerate(neighbour_offsets(DILATIONS, KERNEL)):
        listening = torch.nonzero(inside[place].flatten())[:, 0]
        colour = COLOURS[place // (KERNEL**2 - 1)]
        axes.plot(listening + row * SIDE + column, listening, "s", color=colour, markersize=1.4, markeredgewidth=0)
    axes.plot(range(SIDE**2), range(SIDE**2), "ks", markersize=1.4, markeredgewidth=0)
    share = (inside.sum().item() + SIDE**2) / SIDE**4
    axes.set(xlim=(-1, SIDE**2), ylim=(SIDE**2, -1), aspect="equal")
    axes.set_xlabel("neighbour", fontsize=9)
    axes.set_ylabel("pixel", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.set_title(f"the pairs of a {SIDE} x {SIDE} image: {100 * share:.0f} % of all", fontsize=10)


def main() -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5.4), constrained_layout=True)
    draw_neighbours(left)
    draw_matrix(right)
    target = Path(__file__).with_suffix(".png")
    figure.savefig(target, dpi=80)
    print(f"wrote {target.name}")


if __name__ == "__main__":
    main()
