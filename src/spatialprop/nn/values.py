"""Known values with a confidence, spread along learned affinities into a dense map: mattes, colours, depth."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spatialprop.nn.local_lines import local_lines
from spatialprop.nn.propagation import SpatialPropagation
from spatialprop.nn.resize import unshuffled
from spatialprop.ops.choosing import CHOICES, SUBPIXELS, choose, first_choice

POSITIVE = ("stochastic", "sigmoid")  # ways of normalising gates that leave none below zero
SMALLEST_CONFIDENCE = 1e-12  # what reaches a pixel less is nothing


class ValueGuidance(NamedTuple):
    """What the guidance says about an image and what is known of it; (h, w) is its resolution."""

    gates: list[Tensor]  # raw, for all units or for each: (N, 4, K, G, h, w)
    weight: Tensor  # (N, 1, h, w), from 0 to 1: how far what is known counts
    proposed: Tensor | None  # values that the guidance suggests (N, C, H, W)
    trust: Tensor | None  # (N, 1, h, w), from 0 to 1: how far they count
    choice: Tensor | None  # at half the resolution: (N, 4, 5, h, w), what each pixel of a cell takes; it sums to one


class ValueNetwork(nn.Module):
    """Spread known values along the affinities that a guidance network sees in the image.

    Values times confidence, and confidence, are propagated through the same gates, and divided. As no gate is
    negative, a result is a weighted average of known values: what it takes from each is its affinity to it. At half
    the resolution every pixel in the end chooses between the four cells around it and what is known of itself.

    Args:
        guidance: Makes the guidance network, given its output channels and `in_channels`. It must have a `stride` of
            1, which is full resolution, or of 2.
        channels: Channels C of a value: 1 for a matte, 2 for the colours of a grey picture.
        image_channels: Channels of the image; the values and the confidence are shown to the guidance beside it.
        stride: That of the guidance.
        bounds: The least and the largest value that the guidance may suggest.
        proposals: Let the guidance suggest values where nothing is known, and say how far to trust them; they are
            propagated with those that are known.
        keep_known: Where the confidence is 1, the value comes out as it went in.
        own_gates: Give each channel gates of its own; by default all share them.
        windows: Windows in pixels in which known values are fitted by linear functions of colour, whose predictions the
            guidance is shown too; see `local_lines`.
        connection, units, normalization, separate_gates, merge, directions: See `SpatialPropagation`. Averages need
            gates that are not negative, and a merge that adds: "stochastic" (or "sigmoid") and "mean".

    Example:
        >>> from spatialprop.nn.guidance import LightGuidance
        >>> network = ValueNetwork(LightGuidance, channels=1)
        >>> values, confidence = torch.zeros(2, 1, 1, 60, 80)
        >>> values[..., 5, 5], confidence[..., 5, 5] = 0.25, 1
        >>> network(torch.rand(1, 3, 60, 80), values, confidence)[0, 0, 30, 40].round(decimals=3)
        tensor(0.2500, grad_fn=<RoundBackward1>)
    """

    def __init__(
        self,
        guidance: Callable[..., nn.Module],
        *,
        channels: int,
        image_channels: int = 3,
        stride: int = 2,
        bounds: tuple[float, float] = (0.0, 1.0),
        proposals: bool = False,
        keep_known: bool = True,
        own_gates: bool = False,
        windows: Sequence[int] = (),
        connection: str = "three_way",
        units: int = 2,
        normalization: str = "stochastic",
        separate_gates: bool = True,
        merge: str = "mean",
        directions: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if stride not in (1, 2):
            raise ValueError(f"stride must be 1 (full resolution) or 2 (half); got {stride}")
        if channels < 1 or image_channels < 1:
            raise ValueError(f"values and images have at least 1 channel; got {channels} and {image_channels}")
        if normalization not in POSITIVE or merge != "mean":
            raise ValueError(
                f"values are averages, so gates must not be negative and directions are averaged too: set "
                f"propagation.normalization=stochastic{' (or sigmoid)' if connection == 'one_way' else ''} and "
                f"propagation.merge=mean; got {normalization} and {merge}"
            )
        if not bounds[0] < bounds[1]:
            raise ValueError(f"bounds must be the least and the largest value; got {bounds}")
        self.channels, self.image_channels, self.stride = channels, image_channels, stride
        if any(window < 2 for window in windows):
            raise ValueError(f"windows must be at least 2 pixels wide; got {list(windows)}")
        self.bounds, self.proposals, self.keep_known, self.own_gates = bounds, proposals, keep_known, own_gates
        self.windows = tuple(windows)
        # With gates of its own each value takes its confidence along, through the same ones.
        self.propagation = SpatialPropagation(
            2 * channels if own_gates else None,
            groups=channels if own_gates else 1,
            connection=connection,
            normalization=normalization,
            units=units,
            separate_gates=separate_gates,
            merge=merge,
            directions=directions,
        )
        suggested = stride**2 * channels + 1 if proposals else 0
        chosen = SUBPIXELS * CHOICES if stride == 2 else 0
        self._parts = [self.propagation.guidance_channels, 1, suggested, chosen]
        shown = image_channels + (channels + 1) * (1 + len(self.windows))
        self.guidance = guidance(sum(self._parts), in_channels=shown)
        found = getattr(self.guidance, "stride", None)
        if found != stride:
            raise ValueError(f"the guidance has a stride of {found}, not {stride}: make both 1 or both 2")
        self.start: Tensor
        self.register_buffer("start", self._start(), persistent=False)

    def forward(self, image: Tensor, values: Tensor, confidence: Tensor) -> Tensor:
        """The dense map (N, C, H, W) for `image` (N, I, H, W), `values` (N, C, H, W) and `confidence` (N, 1, H, W).

        Confidence goes from 0, nothing is known, to 1; values count where it is above 0 only.
        """
        return self.spread(values, confidence, self.guide(image, values, confidence))

    def guide(self, image: Tensor, values: Tensor, confidence: Tensor) -> ValueGuidance:
        """What the guidance network says."""
        self._check(image, values, confidence)
        raw = self.guidance(self._shown(image, values, confidence))
        raw = raw.to(image.dtype) + self.start.view(1, -1, 1, 1)  # what autocast leaves has 8 bits
        gates, weight, suggested, choice = raw.split(self._parts, dim=1)
        proposed = trust = None
        if self.proposals:
            low, high = self.bounds
            fine = F.pixel_shuffle(suggested[:, 1:], self.stride) if self.stride > 1 else suggested[:, 1:]
            proposed = low + (high - low) * fine[..., : image.shape[-2], : image.shape[-1]].sigmoid()
            trust = suggested[:, :1].sigmoid()
        return ValueGuidance(
            self.propagation.gates(gates.contiguous()),
            weight.sigmoid(),
            proposed,
            trust,
            choice.unflatten(1, (SUBPIXELS, CHOICES)).softmax(dim=2) if self.stride == 2 else None,
        )

    def spread(self, values: Tensor, confidence: Tensor, guidance: ValueGuidance) -> Tensor:
        """The dense map, given the guidance. (N, C, H, W)"""
        with torch.autocast(values.device.type, enabled=False):  # averages need more than 8 bits
            return self._spread(values, confidence, guidance)

    def _spread(self, values: Tensor, confidence: Tensor, guidance: ValueGuidance) -> Tensor:
        known = values * confidence
        cells, sure = self._cells(known), self._cells(confidence)
        if guidance.proposed is not None and guidance.trust is not None:
            added = (1 - sure) * guidance.trust
            cells = cells * guidance.weight + self._cells(guidance.proposed, inside=True) * added
            sure = sure * guidance.weight + added
        else:
            cells, sure = cells * guidance.weight, sure * guidance.weight
        cells = self._propagated(cells, sure, guidance.gates)
        result = cells if guidance.choice is None else self._chosen(cells, known, confidence, guidance)
        return torch.where(confidence >= 1, values, result) if self.keep_known else result

    def affinity(self, image: Tensor, values: Tensor, confidence: Tensor, pixel: tuple[int, int]) -> Tensor:
        """How much the result at `pixel` (row, column) takes from the value at each pixel. (H, W)

        The guidance counts as constant; what it suggests counts as nothing known.
        """
        row, column = pixel
        with torch.no_grad():
            guidance = self.guide(image, values, confidence)
        with torch.enable_grad():
            given = values.detach().clone().requires_grad_()
            heard = self.spread(given, confidence, guidance)[0, 0, row, column]
            (listening,) = torch.autograd.grad(heard, given)
        return listening[0, 0]

    @torch.no_grad()
    def _shown(self, image: Tensor, values: Tensor, confidence: Tensor) -> Tensor:
        shown = [image, values * confidence, confidence]
        if self.windows:
            with torch.autocast(image.device.type, enabled=False):
                shown.append(local_lines(image, values, confidence, self.windows, self.bounds))
        return torch.cat(shown, dim=1)

    def _cells(self, maps: Tensor, *, inside: bool = False) -> Tensor:
        """Maps at the guidance's resolution; a cell that reaches beyond the image knows nothing of what lies there."""
        if self.stride == 1:
            return maps
        return F.avg_pool2d(maps, 2, ceil_mode=True, count_include_pad=not inside)

    def _propagated(self, cells: Tensor, sure: Tensor, gates: Sequence[Tensor]) -> Tensor:
        if self.own_gates:
            pairs = torch.stack([cells, sure.expand_as(cells)], dim=2).flatten(1, 2)
            spread = self.propagation.propagate(pairs, gates)
            cells, sure = spread[:, ::2], spread[:, 1::2]
        else:
            both = self.propagation.propagate(torch.cat([cells, sure], dim=1), gates)
            cells, sure = both[:, :-1], both[:, -1:]
        return cells / sure.clamp_min(SMALLEST_CONFIDENCE)

    def _chosen(self, cells: Tensor, known: Tensor, confidence: Tensor, guidance: ValueGuidance) -> Tensor:
        """What pixels make of the cells around them and of what is known of themselves. (N, C, H, W)"""
        assert guidance.choice is not None
        (height, width), (rows, columns) = known.shape[-2:], cells.shape[-2:]
        beyond = (0, 2 * columns - width, 0, 2 * rows - height)
        choice = guidance.choice
        if guidance.proposed is not None:
            own = known + (1 - confidence) * guidance.proposed
        else:
            own = known / confidence.clamp_min(SMALLEST_CONFIDENCE)
            sure = unshuffled(F.pad(confidence, beyond), 2)[:, :, None]  # (N, 4, 1, h, w)
            choice = torch.cat([choice[:, :, :-1], choice[:, :, -1:] * sure], dim=2)
            choice = choice / choice.sum(dim=2, keepdim=True)
        return choose(cells, F.pad(own, beyond), choice)[..., :height, :width]

    def _start(self) -> Tensor:
        """Added to what the guidance says, so that training starts with averages of what is near."""
        gates, weight, suggested, chosen = self._parts
        start = [torch.full((gates,), -1.0), torch.full((weight,), 2.0)]
        if suggested:
            start += [torch.tensor([-2.0]), torch.zeros(suggested - 1)]
        if chosen:
            start.append(first_choice())
        return torch.cat(start)

    def _check(self, image: Tensor, values: Tensor, confidence: Tensor) -> None:
        count, size = image.shape[0], tuple(image.shape[-2:])
        for name, given, channels in (
            ("image", image, self.image_channels),
            ("values", values, self.channels),
            ("confidence", confidence, 1),
        ):
            if tuple(given.shape) != (count, channels, *size):
                raise ValueError(f"{name} must be {(count, channels, *size)}, as the image; got {tuple(given.shape)}")
