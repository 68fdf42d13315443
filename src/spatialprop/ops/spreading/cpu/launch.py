"""The compiled CPU backend of `spread`: its buffers, and the order of its kernels.

Both passes first turn the affinities into weights of the state's type. Then each step is one pass over rows. A backward
step is a step too, with the two pixels of each pair exchanged.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from torch import Tensor

from spatialprop.ops.contract import state_dtype
from spatialprop.ops.machine.threads import Flat, empty, flat, run_threaded
from spatialprop.ops.machine.vectors import LANES
from spatialprop.ops.spreading.cpu import kernels
from spatialprop.ops.spreading.pairs import neighbour_offsets


def forward(x: Tensor, affinity: Tensor, dilations: Sequence[int], kernel: int, steps: int) -> Tensor:
    buffers = _Buffers(x, affinity, dilations, kernel)
    source, target = buffers.maps(2)
    buffers.load(source, x)
    buffers.weigh(transposed=False)
    for _ in range(steps):
        buffers.step(target, source)
        source, target = target, source
    return buffers.store(source)


def backward(
    grad: Tensor,
    x: Tensor,
    affinity: Tensor,
    dilations: Sequence[int],
    kernel: int,
    steps: int,
    need_x: bool,
    need_affinity: bool,
) -> tuple[Tensor, Tensor]:
    buffers = _Buffers(x, affinity, dilations, kernel)
    states: list[Flat] = []
    if need_affinity:
        states = buffers.maps(steps + 1)
        buffers.load(states[0], x)
        buffers.weigh(transposed=False)
        for before, after in pairwise(states):
            buffers.step(after, before)
    source, target = buffers.maps(2)
    buffers.load(source, grad)
    buffers.weigh(transposed=True)
    for t in reversed(range(steps)):
        if need_affinity:
            buffers.add_gradients(source, states[t], states[t + 1], fresh=t == steps - 1)
        if need_x or t > 0:
            buffers.step(target, source)
            source, target = target, source
    grad_x = buffers.store(source) if need_x else empty((0,), x.dtype)
    return grad_x, buffers.store_gradients() if need_affinity else empty((0,), x.dtype)


class _Buffers:
    """The memory of one call. Every method is a pass over all rows."""

    def __init__(self, x: Tensor, affinity: Tensor, dilations: Sequence[int], kernel: int) -> None:
        batch, channels, height, width = x.shape
        self.shape, self.affinity = x.shape, affinity
        near = [
            (k, down, right)
            for k, (down, right) in enumerate(neighbour_offsets(dilations, kernel))
            if abs(down) < height and abs(right) < width  # else it is outside the image for every pixel
        ]
        self.neighbours = np.array(near, np.int64).reshape(-1, 3)
        self.padded_width = _whole_vectors(width)
        reach = max((abs(right) for _, _, right in near), default=0)
        margin = _whole_vectors(reach)
        # An odd number of vectors: at a power of two the rows of neighbours would share a few sets of the cache.
        pitch = _whole_vectors(margin + self.padded_width + reach) // LANES | 1
        self.layout = kernels.Layout(channels, height, width, margin, pitch * LANES)
        self.pixel_rows, self.map_rows = batch * height, batch * channels * height
        self.scales = self._for_pixels(1)
        self._over_pixels(kernels.find_scales, self.scales, self.layout, *_strided(affinity), self.neighbours)
        self.weights = self._for_pixels(len(near))
        self.gradients = np.empty(0)

    def maps(self, count: int) -> list[Flat]:
        maps = [self._empty(self.map_rows * self.layout.pitch) for _ in range(count)]
        for one in maps:
            self._over_maps(kernels.clear_margins, one, self.layout)
        return maps

    def load(self, maps: Flat, source: Tensor) -> None:
        self._over_maps(kernels.load_maps, maps, self.layout, *_strided(source))

    def store(self, maps: Flat) -> Tensor:
        out = empty(self.shape, self.affinity.dtype)
        self._over_maps(kernels.store_maps, flat(out), self.layout, maps)
        return out

    def weigh(self, transposed: bool) -> None:
        self.offsets = self.neighbours * ((1, -1, -1) if transposed else (1, 1, 1))
        source = (self.scales, *_strided(self.affinity), self.offsets, transposed)
        self._over_pixels(kernels.find_weights, self.weights, self.layout, *source)

    def step(self, target: Flat, source: Flat) -> None:
        source_weights = (self.weights, self.scales, self.layout, self.offsets)
        self._over_pixels(kernels.step, target, source, *source_weights, each=self.layout.channels / 10)

    def add_gradients(self, grad: Flat, before: Flat, after: Flat, fresh: bool) -> None:
        if fresh:
            self.gradients = self._for_pixels(len(self.neighbours))
        maps = (grad, before, after, self.scales)
        where = (self.layout, self.neighbours, fresh)
        self._over_pixels(kernels.add_gradients, self.gradients, *maps, *where, each=self.layout.channels / 10)

    def store_gradients(self) -> Tensor:
        out = empty(self.affinity.shape, self.affinity.dtype)
        planes = self.affinity.shape[1]
        self._over_pixels(kernels.store_gradients, flat(out), self.layout, self.gradients, self.neighbours, planes)
        return out

    def _for_pixels(self, count: int) -> Flat:
        """Allocate `count` numbers for each pixel."""
        return self._empty(self.pixel_rows * self.padded_width * count)

    def _empty(self, size: int) -> Flat:
        return flat(empty((size,), state_dtype(self.affinity.dtype)))

    def _over_maps(self, kernel: Callable[..., None], *arguments: object) -> None:
        nanoseconds = self.map_rows * self.padded_width / 2
        run_threaded(lambda first, last: kernel(*arguments, first, last), self.map_rows, nanoseconds)

    def _over_pixels(self, kernel: Callable[..., None], *arguments: object, each: float = 2) -> None:
        """Run a kernel that takes about `each` nanoseconds for one neighbour of one pixel."""
        nanoseconds = self.pixel_rows * self.padded_width * len(self.neighbours) * each
        run_threaded(lambda first, last: kernel(*arguments, first, last), self.pixel_rows, nanoseconds)


def _strided(tensor: Tensor) -> tuple[Flat, tuple[int, ...]]:
    return flat(tensor), tensor.stride()


def _whole_vectors(size: int) -> int:
    return -(-size // LANES) * LANES
