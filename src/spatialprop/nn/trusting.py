"""A refinement that learns how far each pixel of the coarse map may be trusted."""

import itertools
from collections.abc import Iterable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spatialprop.nn.hints import (
    COLOUR_HINTS,
    LABEL_BORDERS,
    agreement,
    around,
    around_own_label,
    colour_hints,
    colours,
    label_borders,
    same_label,
)
from spatialprop.nn.inference import Guidance, to_cells
from spatialprop.nn.propagation import SpatialPropagation
from spatialprop.nn.resize import extend, first, pad_to_multiple, pooled, resize, unshuffled
from spatialprop.ops.choosing import CHOICES, STRIDE, SUBPIXELS, choose, first_choice, most_likely

SMALLEST_TRUST = 1e-3  # some of each pixel is always counted, so that there is always something to divide by
SMALLEST_SHARE = 1e-5
LEVEL_FLOOR = 1e-3  # what is weaker stays weak
CHANGES = (LABEL_BORDERS + 1) * SUBPIXELS + 1 + 2  # channels of what a first network changed


class TrustingNetwork(nn.Module):
    """Propagate those class probabilities that can be trusted, along affinities, to where they cannot.

    Shares are weighted by a learned trust, propagated at half the resolution through gates that all classes share, and
    divided by their sum: since the shares of a pixel sum to one, that sum is the propagated trust. Where trust is low,
    a pixel takes its label from trusted ones that its affinities lead to. In the end every pixel of the image chooses
    between the four cells around it and its own share in the coarse map.

    Nothing depends on how many classes there are or on what they mean: the guidance sees the image, where the labels
    of the coarse map change, how certain it is, where it agrees with itself, and how colours fit labels.

    Args:
        widths: Channels at 1/2, 1/4, 1/8 ... of the resolution.
        depths: Residual blocks at each of them, on the way down.
        units: Number of cascaded propagations.
        separate_gates: Give each unit gates of its own.
        fine_offsets, offsets: Distances at which the coarse map is compared with itself, in pixels of 1/2 and 1/4 of
            the resolution.
        windows: Windows in which colours are compared, in pixels of 1/4 of the resolution; see `colour_hints`.
        first: A network that refines the map before this one, which refines the same map, and is shown what the first
            one changed, here and on the whole: so it can trust a mask that fits its image, and doubt one that does not.

    Example:
        >>> network = TrustingNetwork()
        >>> coarse = torch.rand(1, 5, 70, 50).softmax(dim=1)
        >>> network(torch.rand(1, 3, 70, 50), coarse).exp().sum(dim=1).allclose(torch.ones(1, 70, 50))
        True
    """

    judges_labels: ClassVar[bool] = True
    stride: ClassVar[int] = STRIDE

    def __init__(
        self,
        widths: Sequence[int] = (16, 32, 48, 64, 96),
        depths: Sequence[int] = (0, 1, 2, 2, 1),
        *,
        units: int = 2,
        separate_gates: bool = True,
        fine_offsets: Sequence[int] = (1, 3),
        offsets: Sequence[int] = (3, 9),
        windows: Sequence[int] = (6, 24),
        first: "TrustingNetwork | None" = None,
    ) -> None:
        super().__init__()
        if first is not None and first.first is not None:
            raise ValueError("a network looks after one other at most; got a `first` that has a `first` of its own")
        self.first: TrustingNetwork | None = first
        self.widths, self.depths = tuple(widths), tuple(depths)
        self.propagation = SpatialPropagation(
            None, groups=1, normalization="stochastic", units=units, separate_gates=separate_gates, merge="mean"
        )
        self.coarsest_cell = STRIDE << (len(widths) - 1)
        self.reach = self._reach()
        self.fine_offsets = tuple(fine_offsets)
        self.offsets = tuple(offsets)
        self.windows = tuple(windows)
        fine_hints = 2 + 4 * len(self.fine_offsets) + (0 if first is None else CHANGES)
        hints = 4 * len(self.offsets) + COLOUR_HINTS * len(self.windows)
        heads = self.propagation.guidance_channels + 1 + SUBPIXELS * CHOICES
        self.guidance = GuidanceNetwork((3 + LABEL_BORDERS) * SUBPIXELS + fine_hints, hints, heads, widths, depths)
        self.guidance.head.bias = nn.Parameter(self._start())

    def forward(self, image: Tensor, coarse: Tensor) -> Tensor:
        """Refined log-probabilities (N, K, H, W) for `image` (N, 3, H, W) and probabilities `coarse` (N, K, h, w)."""
        return self.refine(coarse, self.guide(self.raw(*self.hints(image, coarse))), image.shape[-2:])

    @torch.no_grad()
    def hints(self, image: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """What the guidance is shown, at 1/2 and at 1/4 of the resolution, the image in front."""
        size = image.shape[-2:]
        cells, labels = to_cells(coarse, size, STRIDE), most_likely(coarse, size)
        described: Sequence[Tensor] = self.describe(image, [cells])
        if self.first is not None:
            guidance = self.first.guide(self.first.raw(*self.first.hints(image, coarse)))
            known = cells.sum(dim=1, keepdim=True)
            refined = self.first.spread(cells, known, guidance)
            assert guidance.choice is not None
            changed = most_likely(coarse, size, refined, guidance.choice)
            described = self.told(described, labels, changed, moved_shares(cells, refined), known)
        fine, quarter = described
        return self.shown(image, labels, fine), quarter

    def describe(self, image: Tensor, cells: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
        """What a coarse map says, whatever its classes are and however many, at 1/2 and at 1/4 of the resolution.

        At 1/2 that is the share of the most likely class, how many are about equally likely (1 - sum of squares: 0
        where one is certain, 1 - 1/n where n are), and where the map agrees with itself; at 1/4 where it does farther
        away, and how colours fit labels.

        Args:
            image: (N, 3, H, W)
            cells: The shares of all classes (N, k, ceil(H / 2), ceil(W / 2)), some at a time.
        """
        # A little of the image's right or lower edge counts twice where its sides are no multiples of 4.
        small = pooled(pad_to_multiple(image, 2 * STRIDE), 2 * STRIDE)
        seen = colours(small)
        totals: list[Tensor] = []
        largest: Tensor | None = None
        for some in cells:
            smaller = pooled(pad_to_multiple(some, 2), 2)
            highest = some.amax(dim=1, keepdim=True)
            largest = highest if largest is None else torch.maximum(largest, highest)
            found = [same_label(some, some)[:, None], agreement(some, self.fine_offsets)]
            found += [agreement(smaller, self.offsets)]
            found += [around_own_label(seen, smaller, window) for window in self.windows]
            totals = [a + b for a, b in zip(totals, found, strict=True)] if totals else found
        assert largest is not None  # there is at least one class
        squares, near, far, *own = totals
        fits = [colour_hints(small, one, around(seen, window)) for one, window in zip(own, self.windows, strict=True)]
        return torch.cat([largest, 1 - squares, near], dim=1), torch.cat([far, *fits], dim=1)

    def told(
        self, described: Sequence[Tensor], labels: Tensor, refined: Tensor, moved: Tensor, known: Tensor
    ) -> tuple[Tensor, ...]:
        """What `describe` says, and what the first network changed: new borders, pixels, shares, and how much in all.

        Args:
            described: What `describe` says.
            labels, refined: The most likely class of each pixel, before and after. (N, H, W)
            moved: See `moved_shares`.
            known: The sum of all shares before, in cells: where nothing was known, nothing counts on the whole.
        """
        fine, *rest = described
        changed = (labels != refined).float()[:, None]
        pixels = pad_to_multiple(torch.cat([label_borders(refined), changed], dim=1), STRIDE)
        length = label_borders(labels).sum(dim=(1, 2, 3)).clamp_min(1)
        some = (known > 0).float()
        counted = changed * first(F.interpolate(some, scale_factor=STRIDE), labels.shape[1:])
        areas = torch.stack([one.sum(dim=(1, 2, 3)) for one in (counted, STRIDE**2 * moved * some)], dim=1)
        on_the_whole = torch.log1p(8 * areas / length[:, None])[..., None, None].expand(-1, -1, *moved.shape[2:])
        return torch.cat([fine, unshuffled(pixels, STRIDE), moved, on_the_whole], dim=1), *rest

    def shown(self, image: Tensor, labels: Tensor, fine: Tensor) -> Tensor:
        """The image, the borders of labels and hints, at 1/2 of the resolution."""
        pixels = pad_to_multiple(torch.cat([image - 0.5, label_borders(labels)], dim=1), STRIDE)
        if torch.compiler.is_exporting():
            return torch.cat([unshuffled(pixels, STRIDE), fine], dim=1)
        # The same, copied once and channels last, as the first convolution wants it.
        count = SUBPIXELS * pixels.shape[1]
        whole = fine.new_empty((len(fine), *fine.shape[2:], count + fine.shape[1])).permute(0, 3, 1, 2)
        cells = whole[:, :count].view(len(fine), -1, SUBPIXELS, *fine.shape[2:])
        for place in range(SUBPIXELS):
            row, column = divmod(place, STRIDE)
            cells[:, :, place] = pixels[..., row::STRIDE, column::STRIDE]
        whole[:, count:] = fine
        return whole

    def look(self, image: Tensor, labels: Tensor, *described: Tensor) -> Guidance:
        """The guidance of an image (N, 3, H, W), labels (N, H, W), and what `describe` says of the coarse map."""
        fine, quarter = described
        return self.guide(self.raw(self.shown(image, labels, fine), quarter))

    def raw(self, half: Tensor, quarter: Tensor) -> Tensor:
        """What the guidance network makes of hints."""
        cells, shape = self.coarsest_cell // STRIDE, half.shape[-2:]
        size = [(side + cells - 1) // cells * cells for side in shape]
        return first(self.guidance(extend(half, size), extend(quarter, [side // 2 for side in size])), shape)

    def guide(self, raw: Tensor) -> Guidance:
        """Gates, trust and choice."""
        sizes = [self.propagation.guidance_channels, 1, SUBPIXELS * CHOICES]
        gates, trust, choice = torch.split(raw, sizes, dim=1)
        choice = choice.reshape(len(raw), SUBPIXELS, CHOICES, *raw.shape[-2:]).softmax(dim=2)
        return Guidance(tuple(self.propagation.gates(gates)), trust.sigmoid().clamp_min(SMALLEST_TRUST), choice)

    def refine(self, coarse: Tensor, guidance: Guidance, size: Sequence[int]) -> Tensor:
        """Refined log-probabilities of an image's `size`, given the guidance. (N, K, H, W)"""
        cells = to_cells(coarse, size, STRIDE)
        cells = self.spread(cells, cells.sum(dim=1, keepdim=True), guidance)
        return self._chosen(cells, resize(coarse, size), guidance).clamp_min(SMALLEST_SHARE).log()

    def spread(self, cells: Tensor, known: Tensor, guidance: Guidance) -> Tensor:
        """The shares of some classes after propagation, given the sum of all shares. (N, k, h, w)"""
        assert guidance.trust is not None
        x = self.propagation.propagate(torch.cat([known, cells], dim=1) * guidance.trust, guidance.gates)
        return x[:, 1:] / x[:, :1].clamp_min(SMALLEST_SHARE * SMALLEST_TRUST)

    def _chosen(self, cells: Tensor, whole: Tensor, guidance: Guidance) -> Tensor:
        """What pixels make of the cells around them and of themselves. (N, K, H, W)"""
        assert guidance.choice is not None
        return choose(cells, whole, guidance.choice)

    def _reach(self) -> int:
        """Pixels that a value of the guidance sees to each side, up to the next border of coarsest cells."""
        cells = [STRIDE << level for level in range(len(self.widths))]
        pixels = STRIDE + cells[1] + STRIDE  # what the first convolutions see, and borders of labels
        pixels += sum(2 * depth * cell for depth, cell in zip(self.depths, cells, strict=True))
        pixels += sum(2 * near + far for near, far in itertools.pairwise(cells))  # the way up
        return -(-pixels // self.coarsest_cell) * self.coarsest_cell

    def _start(self) -> Tensor:
        """What the guidance says before it is trained, so that training starts near the coarse map as it is."""
        gates = torch.full((self.propagation.guidance_channels,), -1.5)
        return torch.cat([gates, torch.tensor([1.0]), first_choice()])


class GuidanceNetwork(nn.Module):
    """A small U-Net of residual blocks, each of which is shown its input at one level.

    Args:
        in_channels: Channels of what it is shown at 1/2 of the resolution.
        quarter_channels: And of what it is shown at 1/4.
        out_channels: Channels of guidance.
        widths, depths: See `TrustingNetwork`.
    """

    def __init__(
        self, in_channels: int, quarter_channels: int, out_channels: int, widths: Sequence[int], depths: Sequence[int]
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.beside = nn.Conv2d(quarter_channels, widths[1], 3, padding=1) if quarter_channels else None
        self.shrink = nn.ModuleList(
            nn.Conv2d(before, after, 2, stride=2) for before, after in itertools.pairwise(widths)
        )
        self.down = nn.ModuleList(
            nn.Sequential(*(Residual(width) for _ in range(depth))) for width, depth in zip(widths, depths, strict=True)
        )
        self.narrow = nn.ModuleList(Pointwise(after, before) for before, after in itertools.pairwise(widths))
        self.up = nn.ModuleList(Residual(width) for width in widths[:-1])
        self.head = Head(widths[0], out_channels)
        nn.init.normal_(self.head.weight, std=1e-2)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, half: Tensor, quarter: Tensor) -> Tensor:
        """Guidance (N, out_channels, h, w) for hints (N, in_channels, h, w) and (N, quarter_channels, h/2, w/2)."""
        x = self.down[0](F.relu(self.stem(half.contiguous(memory_format=torch.channels_last)), inplace=True))
        skips = []
        for stage, (shrink, blocks) in enumerate(zip(self.shrink, list(self.down)[1:], strict=True)):
            skips.append(x)
            x = shrink(level(x))
            if stage == 0 and self.beside is not None:
                x += self.beside(quarter.contiguous(memory_format=torch.channels_last))
            x = blocks(F.relu(x, inplace=True))
        for narrow, up in zip(reversed(self.narrow), reversed(self.up), strict=True):
            x = F.interpolate(narrow(level(x)), scale_factor=2, mode="bilinear", align_corners=False)
            x = up(x.add_(skips.pop()))
        guidance: Tensor = self.head(level(x))
        return guidance


class Pointwise(nn.Conv2d):
    """A convolution of one pixel as the matrix product that it is: PyTorch takes a slow way on one thread."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """As many channels as it was made for."""
        product = F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias)
        return product.permute(0, 3, 1, 2)


class Head(Pointwise):
    """The same, and each channel lies in one piece, as scans and sums over channels want it."""

    def forward(self, x: Tensor) -> Tensor:
        """As many channels as it was made for."""
        assert self.bias is not None
        pixels = x.permute(0, 2, 3, 1).flatten(1, 2)
        weight = self.weight.flatten(1).expand(len(x), -1, -1)
        return torch.baddbmm(self.bias[:, None], weight, pixels.mT).reshape(len(x), -1, *x.shape[2:])


class Residual(nn.Module):
    """Two convolutions whose sum with what goes in starts as what goes in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.normal_(self.second.weight, std=1e-3)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """As many channels as it was given."""
        added: Tensor = self.second(F.relu(self.first(level(x)), inplace=True))
        return added.add_(x)


def moved_shares(before: Tensor, after: Tensor) -> Tensor:
    """How much of each cell went from one class to another. (N, 1, h, w), from 0 to 1

    Example:
        >>> moved_shares(torch.tensor([1.0, 0.0]).view(1, 2, 1, 1), torch.tensor([0.75, 0.25]).view(1, 2, 1, 1)).item()
        0.25
    """
    return (after - before).abs().sum(dim=1, keepdim=True) / 2


def level(x: Tensor) -> Tensor:
    """Each pixel's channels (N, C, H, W) divided by the root of their mean square; it needs no statistics of a batch.

    Without, weights and with them activations grow until nothing is learned any more.
    """
    squares = torch.linalg.vector_norm(x, dim=1, keepdim=True).square()  # in one pass
    return x * torch.rsqrt(squares / x.shape[1] + LEVEL_FLOOR)
