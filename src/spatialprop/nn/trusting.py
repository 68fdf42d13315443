"""A refinement that learns how far each pixel of the coarse map may be trusted."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spatialprop.nn.choosing import CHOICES, STRIDE, SUBPIXELS, choose, choose_labels, most_likely
from spatialprop.nn.hints import COLOUR_HINTS, LABEL_BORDERS, agreement, certainty, colour_hints, label_borders
from spatialprop.nn.resize import pad_to_multiple
from spatialprop.ops import propagate

DIRECTIONS = 4
CONNECTION = 3
SMALLEST_TRUST = 1e-3  # some of each pixel is always counted, so that there is always something to divide by
SMALLEST_SHARE = 1e-5
LEVEL_FLOOR = 1e-3  # what is weaker stays weak
# Logits of bilinear enlarging: a pixel of a cell depends on 9, 3, 3 and 1 sixteenths of the four cells around it.
_BILINEAR = [[1, 3, 3, 9], [3, 1, 9, 3], [3, 9, 1, 3], [9, 3, 3, 1]]


class Guidance(NamedTuple):
    """What the network says about an image and its coarse map, (h, w) being half the image's size, rounded up."""

    gates: list[Tensor]  # before normalization, for each unit: (N, 4, 3, 1, h, w)
    trust: Tensor  # (N, 1, h, w), from 0 to 1
    choice: Tensor  # (N, 4, 5, h, w): for each pixel of a cell, how much it takes of its choices; they sum to one


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

    Example:
        >>> network = TrustingNetwork()
        >>> coarse = torch.rand(1, 5, 70, 50).softmax(dim=1)
        >>> network(torch.rand(1, 3, 70, 50), coarse).exp().sum(dim=1).allclose(torch.ones(1, 70, 50))
        True
    """

    def __init__(
        self,
        widths: Sequence[int] = (32, 32, 48, 64, 96),
        depths: Sequence[int] = (0, 1, 2, 2, 1),
        *,
        units: int = 2,
        separate_gates: bool = True,
        fine_offsets: Sequence[int] = (1, 3),
        offsets: Sequence[int] = (3, 9),
        windows: Sequence[int] = (6, 24),
    ) -> None:
        super().__init__()
        self.units = units
        self.gate_sets = units if separate_gates else 1
        self.fine_offsets = tuple(fine_offsets)
        self.offsets = tuple(offsets)
        self.windows = tuple(windows)
        fine_hints = 2 + 4 * len(self.fine_offsets)
        hints = 4 * len(self.offsets) + COLOUR_HINTS * len(self.windows)
        heads = self.gate_sets * DIRECTIONS * CONNECTION + 1 + SUBPIXELS * CHOICES
        self.guidance = GuidanceNetwork((3 + LABEL_BORDERS) * SUBPIXELS + fine_hints, hints, heads, widths, depths)
        self.start: Tensor
        self.register_buffer("start", self._start(), persistent=False)

    def forward(self, image: Tensor, coarse: Tensor) -> Tensor:
        """Refined log-probabilities (N, K, H, W) for `image` (N, 3, H, W) and probabilities `coarse` (N, K, h, w)."""
        if coarse.shape[-2:] != image.shape[-2:]:
            coarse = F.interpolate(coarse, size=image.shape[-2:], mode="bilinear", align_corners=False)
        return self.refine(coarse, self.guide(self.raw(*self.hints(image, coarse))))

    @torch.no_grad()
    def hints(self, image: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """What the guidance is shown, at 1/2 and at 1/4 of the resolution, the image in front."""
        height, width = image.shape[-2:]
        size = [-(-side // 32) * 32 for side in (height, width)]
        pixels = torch.cat([image - 0.5, label_borders(most_likely(coarse))], dim=1)
        pixels = pad_to_multiple(pixels, 32)
        shares = F.avg_pool2d(pad_to_multiple(coarse, STRIDE), STRIDE)
        fine = torch.cat([certainty(shares), agreement(shares, self.fine_offsets)], dim=1)
        half = torch.cat([F.pixel_unshuffle(pixels, STRIDE), _extend(fine, [side // 2 for side in size])], dim=1)
        # A little of the image's right or lower edge counts twice where its sides are no multiples of 4.
        shares = F.avg_pool2d(pad_to_multiple(shares, 2), 2)
        small = F.avg_pool2d(pad_to_multiple(image, 4), 4)
        found = [agreement(shares, self.offsets)] if self.offsets else []
        found += [colour_hints(small, shares, self.windows)] if self.windows else []
        quarter = _extend(torch.cat(found, dim=1), [side // 4 for side in size]) if found else small[:, :0]
        return half, quarter

    def raw(self, half: Tensor, quarter: Tensor) -> Tensor:
        """What the guidance network makes of hints."""
        raw: Tensor = self.guidance(half, quarter)
        return raw

    def guide(self, raw: Tensor) -> Guidance:
        """Gates, trust and choice; they may reach further to the right and down than the image does."""
        raw = raw + self.start.view(1, -1, 1, 1)
        size = raw.shape[-2:]
        count = self.gate_sets * DIRECTIONS * CONNECTION
        gates, trust, choice = raw[:, :count], raw[:, count : count + 1], raw[:, count + 1 :]
        gates = gates.reshape(len(raw), self.gate_sets, DIRECTIONS, CONNECTION, 1, *size)
        choice = choice.reshape(len(raw), SUBPIXELS, CHOICES, *size).softmax(dim=2)
        trust = trust.sigmoid().clamp_min(SMALLEST_TRUST)
        return Guidance(list(gates.unbind(dim=1)), trust, choice)

    def refine(self, coarse: Tensor, guidance: Guidance) -> Tensor:
        """Refined log-probabilities, given the guidance. (N, K, H, W)"""
        cells = self._spread(coarse, guidance)
        return self._chosen(coarse, cells, cells.sum(dim=1, keepdim=True), guidance).clamp_min(SMALLEST_SHARE).log()

    def labels(self, image: Tensor, coarse: Tensor) -> Tensor:
        """The most likely class of each pixel of what a call gives, in less time. (N, H, W)"""
        if coarse.shape[-2:] != image.shape[-2:]:
            coarse = F.interpolate(coarse, size=image.shape[-2:], mode="bilinear", align_corners=False)
        guidance = self.guide(self.raw(*self.hints(image, coarse)))
        cells = self._spread(coarse, guidance)
        cells = cells / cells.sum(dim=1, keepdim=True).clamp_min(SMALLEST_SHARE * SMALLEST_TRUST)
        (height, width), (rows, columns) = coarse.shape[-2:], cells.shape[-2:]
        chosen = choose_labels(cells, pad_to_multiple(coarse, STRIDE), guidance.choice[..., :rows, :columns])
        return chosen[:, :height, :width]

    def affinity_along(self, guidance: Guidance, size: tuple[int, int], pixel: tuple[int, int]) -> Tensor:
        """How much `pixel` (row, column) depends on each pixel of a coarse map of `size`: shares of one. (N, H, W)

        The refined shares of the pixel are the sum of those of the coarse map, weighted by these.
        """
        row, column = pixel
        with torch.enable_grad():
            coarse = torch.ones_like(guidance.trust[:, :, :1, :1]).repeat(1, 1, *size).requires_grad_()
            cells = self._spread(coarse, guidance)
            heard = self._chosen(coarse, cells, cells.detach(), guidance)[..., row, column]
            (listening,) = torch.autograd.grad(heard.sum(), coarse)
        return listening[:, 0]

    def _spread(self, coarse: Tensor, guidance: Guidance) -> Tensor:
        """Shares times trust, propagated. (N, K, ceil(H / 2), ceil(W / 2))"""
        x = F.avg_pool2d(pad_to_multiple(coarse, STRIDE), STRIDE)
        rows, columns = x.shape[-2:]
        x = x * guidance.trust[..., :rows, :columns]
        for unit in range(self.units):
            gates = guidance.gates[unit % self.gate_sets][..., :rows, :columns]
            x = propagate(x, gates, normalize="stochastic", merge="mean")
        return x

    def _chosen(self, coarse: Tensor, cells: Tensor, trust: Tensor, guidance: Guidance) -> Tensor:
        """What pixels make of the cells around them and of themselves, given the trust that came there. (N, K, H, W)"""
        (height, width), (rows, columns) = coarse.shape[-2:], cells.shape[-2:]
        shares = cells / trust.clamp_min(SMALLEST_SHARE * SMALLEST_TRUST)
        mixed = choose(shares, pad_to_multiple(coarse, STRIDE), guidance.choice[..., :rows, :columns])
        return mixed[..., :height, :width]

    def _start(self) -> Tensor:
        """Added to what the guidance says, so that training starts near the coarse map as it is."""
        gates = torch.full((self.gate_sets * DIRECTIONS * CONNECTION,), -1.5)
        bilinear = torch.tensor(_BILINEAR).float().div(16).log()
        own = torch.full((SUBPIXELS, 1), 0.0)  # as much as the cells together
        return torch.cat([gates, torch.tensor([1.0]), torch.cat([bilinear, own], dim=1).flatten()])


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
        self.narrow = nn.ModuleList(nn.Conv2d(after, before, 1) for before, after in itertools.pairwise(widths))
        self.up = nn.ModuleList(Residual(width) for width in widths[:-1])
        self.head = nn.Conv2d(widths[0], out_channels, 1)
        nn.init.normal_(self.head.weight, std=1e-2)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, half: Tensor, quarter: Tensor) -> Tensor:
        """Guidance (N, out_channels, h, w) for hints (N, in_channels, h, w) and (N, quarter_channels, h/2, w/2)."""
        x = self.down[0](F.relu(self.stem(half.contiguous(memory_format=torch.channels_last))))
        skips = []
        for stage, (shrink, blocks) in enumerate(zip(self.shrink, list(self.down)[1:], strict=True)):
            skips.append(x)
            x = shrink(level(x))
            if stage == 0 and self.beside is not None:
                x = x + self.beside(quarter.contiguous(memory_format=torch.channels_last))
            x = blocks(F.relu(x))
        for narrow, up in zip(reversed(self.narrow), reversed(self.up), strict=True):
            x = F.interpolate(narrow(level(x)), scale_factor=2, mode="bilinear", align_corners=False)
            x = up(x + skips.pop())
        guidance: Tensor = self.head(level(x))
        return guidance


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
        added: Tensor = self.second(F.relu(self.first(level(x))))
        return x + added


def level(x: Tensor) -> Tensor:
    """Each pixel's channels (N, C, H, W) divided by the root of their mean square; it needs no statistics of a batch.

    Without, weights and with them activations grow until nothing is learned any more.
    """
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + LEVEL_FLOOR)


def _extend(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Repeat the last row and column until the maps have `size`."""
    missing = (0, size[1] - maps.shape[-1], 0, size[0] - maps.shape[-2])
    return F.pad(maps, missing, mode="replicate") if any(missing) else maps
