"""Pairs of label maps that differ mostly along borders, with void and with classes that never occur."""

from typing import NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor

VOID = 255
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


class Maps(NamedTuple):
    pred: Tensor  # (N, H, W)
    target: Tensor  # (N, H, W)
    num_classes: int
    ignore_index: int | None

    @property
    def numpy(self):
        """Prediction, truth and which pixels count."""
        counted = torch.ones_like(self.target, dtype=torch.bool)
        if self.ignore_index is not None:
            counted = self.target != self.ignore_index
        return self.pred.numpy(), self.target.numpy(), counted.numpy()


def make_maps(seed, batch=3, height=24, width=30, num_classes=5, present=4, block=5, void=0.1, void_label=VOID):
    """Blocks of labels below `present`; the prediction is the truth moved by a pixel, with some blocks mistaken."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = -(-height // block) + 1, -(-width // block) + 1

    def blocks(cells):
        return cells.repeat_interleave(block, 1).repeat_interleave(block, 2)

    cells = torch.randint(0, present, (batch, rows, columns), generator=generator)
    mistaken = torch.randint(0, present, cells.shape, generator=generator)
    wrong = torch.rand(cells.shape, generator=generator) < 0.2
    pred = blocks(torch.where(wrong, mistaken, cells))[:, 1 : height + 1, 1 : width + 1]
    target = blocks(cells)[:, :height, :width].clone()
    target[torch.rand(target.shape, generator=generator) < void / 2] = void_label
    target[blocks(torch.rand(cells.shape, generator=generator) < void)[:, :height, :width]] = void_label
    return Maps(pred.contiguous(), target, num_classes, void_label if void else None)


def random_maps(max_side=14):
    """A strategy of maps down to one pixel in height, width or both, all void included."""
    return st.builds(
        make_maps,
        seed=st.integers(0, 10**6),
        batch=st.integers(1, 3),
        height=st.integers(1, max_side),
        width=st.integers(1, max_side),
        num_classes=st.just(5),
        present=st.integers(1, 5),
        block=st.integers(1, 6),
        void=st.sampled_from([0, 0.1, 0.5, 1]),
        void_label=st.sampled_from([VOID, 5, -1]),  # some sets count void as one class more
    )
