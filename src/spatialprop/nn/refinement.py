"""Coarse probabilities and an image in, refined probabilities out: hints, gates, refine, affinity."""

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spatialprop.nn.guidance import LightGuidance
from spatialprop.nn.inference import Guidance, to_cells
from spatialprop.nn.propagation import SpatialPropagation
from spatialprop.nn.resize import first, resize

HINTS = ("confidence", "entropy")
SMALLEST_SHARE = 1e-5  # signed gates may leave a class with less than nothing


class RefinementNetwork(nn.Module):
    """Propagate coarse class probabilities along the affinities that a guidance network sees in the image.

    With `hidden` channels this is the network of the paper: a convolution turns the probabilities into as many hidden
    maps, each is propagated through gates of its own at the guidance's resolution, and a convolution turns the
    result into class scores, which are enlarged. Without, the probabilities themselves are propagated, all through the
    same gates, so that nothing depends on how many classes there are or on what they mean.

    Args:
        guidance: Makes the guidance network, given how many channels it must have and, with hints, how many
            `in_channels` it is shown.
        num_classes: Number of classes; needed for hidden channels only.
        hidden: Number of hidden maps, None to propagate the probabilities themselves.
        groups: How many groups of hidden maps have gates of their own; by default each map has.
        hints: What the guidance is shown of the coarse map beside the image, see `hint_maps`.
        connection, normalization, units, separate_gates, merge, directions: See `SpatialPropagation`.

    Example:
        >>> from spatialprop.nn.guidance import LightGuidance
        >>> network = RefinementNetwork(LightGuidance)
        >>> coarse = torch.rand(1, 5, 64, 64).softmax(dim=1)
        >>> network(torch.rand(1, 3, 64, 64), coarse).exp().sum(dim=1).allclose(torch.ones(1, 64, 64))
        True
    """

    judges_labels: ClassVar[bool] = False  # it is shown no borders of labels, and has learned from probabilities

    def __init__(
        self,
        guidance: Callable[..., nn.Module],
        *,
        num_classes: int | None = None,
        hidden: int | None = None,
        groups: int | None = None,
        hints: Sequence[str] = (),
        connection: str = "three_way",
        normalization: str = "clamp",
        units: int = 2,
        separate_gates: bool = False,
        merge: str = "max",
        directions: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if merge == "none":
            raise ValueError("merge='none' leaves one map a direction, not one result; use 'max' or 'mean'")
        if groups is not None and hidden is None:
            raise ValueError(f"groups share hidden maps out; got groups={groups} without any: give hidden too")
        self.propagation = SpatialPropagation(
            hidden,
            groups=groups or hidden or 1,
            connection=connection,
            normalization=normalization,
            units=units,
            separate_gates=separate_gates,
            merge=merge,
            directions=directions,
        )
        self.hints = check_hints(hints)
        shown = {"in_channels": 3 + len(self.hints)} if self.hints else {}
        self.guidance = guidance(self.propagation.guidance_channels, **shown)
        self.before: nn.Conv2d | None = None
        self.after: nn.Conv2d | None = None
        if hidden is not None:
            if num_classes is None:
                raise ValueError("hidden maps are made from and turned into classes: give num_classes too")
            self.before = nn.Conv2d(num_classes, hidden, 3, padding=1)
            self.after = nn.Conv2d(hidden, num_classes, 3, padding=1)
            _start_as_identity(self.before, 1.0)
            _start_as_identity(self.after, 10.0)  # scores that softmax turns into about the same probabilities

    def forward(self, image: Tensor, coarse: Tensor) -> Tensor:
        """Refined log-probabilities (N, K, H, W) for `image` (N, 3, H, W) and probabilities `coarse` (N, K, H, W)."""
        return self.refine(coarse, self.gates(image, coarse))

    def gates(self, image: Tensor, coarse: Tensor) -> list[Tensor]:
        """The gates of an image and, with hints, of its coarse map; one set for all units or one for each."""
        _check_sizes(image, coarse)
        if not self.hints:
            return self.gates_from(image)
        described = self.describe(image, [to_cells(coarse.detach(), coarse.shape[-2:], self.stride)])
        return self.gates_from(self._shown(image, described))

    def gates_from(self, *shown: Tensor) -> list[Tensor]:
        """The gates that the guidance network predicts from an image with its hints, or from features and the image."""
        return self.propagation.gates(self.guidance(*shown))

    @property
    def stride(self) -> int:
        """Pixels of a cell of the gates, each way."""
        return int(self.guidance.stride)  # type: ignore[arg-type]

    @property
    def coarsest_cell(self) -> int:
        """Pixels that one value of the guidance's coarsest stage sums up, each way."""
        return 1 << self.guidance.stages if isinstance(self.guidance, LightGuidance) else 32

    @property
    def reach(self) -> int:
        """How many pixels away something still changes the gates."""
        return 6 * self.coarsest_cell

    def describe(self, image: Tensor, cells: Iterable[Tensor]) -> tuple[Tensor, ...]:
        """What the guidance is shown of the coarse map, given the shares of its classes (N, k, h, w) by and by."""
        return (hint_maps(cells, self.hints),) if self.hints else ()

    def look(self, image: Tensor, labels: Tensor, *described: Tensor) -> Guidance:
        """The gates of an image or of a tile, given what `describe` says of the coarse map there."""
        return Guidance(tuple(self.gates_from(self._shown(image, described))))

    def _shown(self, image: Tensor, described: Sequence[Tensor]) -> Tensor:
        """An image or a tile, and what is said of the coarse map, enlarged alike for both."""
        size = image.shape[-2:]
        whole = [F.interpolate(one.to(image.dtype), scale_factor=self.stride, mode="bilinear") for one in described]
        return torch.cat([image, *(first(one, size) for one in whole)], dim=1)

    def spread(self, cells: Tensor, known: Tensor, guidance: Guidance) -> Tensor:
        """The shares of some classes (N, k, h, w), propagated."""
        return self.propagation.propagate(cells, guidance.gates)

    def refine(self, coarse: Tensor, gates: Sequence[Tensor], size: Sequence[int] | None = None) -> Tensor:
        """Refined log-probabilities, given gates of any resolution. (N, K, *size), by default the coarse map's"""
        scores = self._scores(coarse, gates, size)
        return scores.log_softmax(dim=1) if self.after is not None else as_probabilities(scores).log()

    def affinity(self, image: Tensor, coarse: Tensor, pixel: tuple[int, int]) -> Tensor:
        """How much each pixel of the coarse map adds to the class that wins at `pixel` (row, column). (H, W)

        The gates count as constants: that hints change them with the coarse map is left out.
        """
        _check_sizes(image, coarse)
        _check_pixel(coarse, pixel)
        with torch.no_grad():
            gates = self.gates(image, coarse)
        return self.affinity_through(gates, coarse, pixel)

    def affinity_through(self, gates: Sequence[Tensor], coarse: Tensor, pixel: tuple[int, int]) -> Tensor:
        """The affinity of a pixel, given the gates. (H, W)"""
        return jacobian_row(lambda maps: self._scores(maps, gates), coarse, pixel)

    def _scores(self, coarse: Tensor, gates: Sequence[Tensor], size: Sequence[int] | None = None) -> Tensor:
        """The propagated coarse map, before it is turned into probabilities. (N, K, H, W)"""
        if self.before is not None and coarse.shape[1] != self.before.in_channels:
            raise ValueError(
                f"a network with hidden maps knows its classes: it was made for {self.before.in_channels}, "
                f"the coarse map has {coarse.shape[1]}; give num_classes={coarse.shape[1]} and train it, or hidden=None"
            )
        x = coarse if self.before is None else self.before(coarse)
        # Autocast leaves x with 8 bits, too few for probabilities and their logarithms.
        x = self.propagation.propagate(self._in_cells(x.to(coarse.dtype), gates[0].shape[-2:]), gates)
        x = x if self.after is None else self.after(x)
        return resize(x.to(coarse.dtype), size or coarse.shape[-2:])

    def _in_cells(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """Maps at the resolution of the gates; probabilities are means over cells, where gates have the guidance's."""
        stride = getattr(self.guidance, "stride", 0) if self.before is None else 0
        if stride and all(-(-side // stride) == cells for side, cells in zip(x.shape[-2:], size, strict=True)):
            return to_cells(x, x.shape[-2:], stride)
        return resize(x, size)


def as_probabilities(scores: Tensor, allowed: Tensor | None = None) -> Tensor:
    """Propagated probabilities (N, K, H, W) made positive, and to sum to one over the classes that are allowed."""
    shares = scores.clamp_min(SMALLEST_SHARE)
    shares = shares if allowed is None else shares * allowed[..., None, None]
    return shares / shares.sum(dim=1, keepdim=True)


def winning_classes(winners: Tensor, count: int) -> Tensor:
    """Which of `count` classes are the most likely one anywhere in each map of indices (N, H, W). (N, count)

    Example:
        >>> winning_classes(torch.tensor([[[0, 2], [2, 2]]]), 4)
        tensor([[ True, False,  True, False]])
    """
    found = torch.zeros(winners.shape[0], count, dtype=torch.bool, device=winners.device)
    return found.scatter(1, winners.flatten(1).to(torch.int64), True)


def jacobian_row(refine: Callable[[Tensor], Tensor], coarse: Tensor, pixel: tuple[int, int]) -> Tensor:
    """The row of the Jacobian of `refine` that belongs to `pixel` and the class that wins there. (H, W)

    Args:
        refine: Maps (1, K, H, W) in, refined maps (1, K, H, W) out.
        coarse: The maps at which it is differentiated. (1, K, H, W)
        pixel: Row and column.
    """
    _check_pixel(coarse, pixel)
    row, column = pixel
    with torch.enable_grad():
        coarse = coarse.detach().requires_grad_()
        at_pixel = refine(coarse)[0, :, row, column]
        winner = int(at_pixel.argmax())
        (gradient,) = torch.autograd.grad(at_pixel[winner], coarse)
    return gradient[0, winner]


def check_hints(hints: Sequence[str]) -> tuple[str, ...]:
    """The names of hints, each known and there once."""
    if isinstance(hints, str) or any(name not in HINTS for name in hints) or len(set(hints)) != len(hints):
        raise ValueError(f"hints must be distinct names out of {', '.join(HINTS)}; got {hints!r}")
    return tuple(hints)


def hint_maps(shares: Iterable[Tensor], names: Sequence[str]) -> Tensor:
    """Describe a coarse map without naming its classes: (N, len(names), H, W), from 0 to 1.

    "confidence" is the share of the most likely class, "entropy" is 1 - exp(-entropy): 0 where one class is certain,
    1 - 1/n where n are equally likely. Classes without a share change neither.

    Args:
        shares: The probabilities (N, k, H, W), all classes at once or some at a time.
        names: What to compute, in this order.

    Example:
        >>> hint_maps([torch.tensor([0.5, 0.5, 0.0]).view(1, 3, 1, 1)], ["confidence", "entropy"]).flatten()
        tensor([0.5000, 0.5000])
    """
    confidence: Tensor | None = None
    entropy: Tensor | None = None
    for some in shares:
        largest = some.amax(dim=1)
        logarithms = some.clamp_min(torch.finfo(some.dtype).tiny).log_()  # in a fifth of the time of xlogy
        doubt = -logarithms.mul_(some).sum(dim=1)
        confidence = largest if confidence is None else torch.maximum(confidence, largest)
        entropy = doubt if entropy is None else entropy + doubt
    if confidence is None or entropy is None:
        raise ValueError("hints are computed from at least one class; got none")
    found = {"confidence": confidence, "entropy": -torch.expm1(-entropy)}
    return torch.stack([found[name] for name in names], dim=1)


def _check_sizes(image: Tensor, coarse: Tensor) -> None:
    if image.shape[-2:] != coarse.shape[-2:]:
        raise ValueError(
            f"image and coarse map must have one size; got {tuple(image.shape)} and {tuple(coarse.shape)}: "
            f"enlarge the coarse map first (bilinear, align_corners=False)"
        )


def _check_pixel(coarse: Tensor, pixel: tuple[int, int]) -> None:
    row, column = pixel
    if coarse.shape[0] != 1 or not (0 <= row < coarse.shape[-2] and 0 <= column < coarse.shape[-1]):
        raise ValueError(
            f"pixel must lie in a batch of one image; got pixel {tuple(pixel)} for maps {tuple(coarse.shape)}"
        )


def _start_as_identity(convolution: nn.Conv2d, gain: float) -> None:
    """Make the convolution pass the coarse map on, so that training starts from it and not from noise."""
    nn.init.dirac_(convolution.weight)
    with torch.no_grad():
        convolution.weight.mul_(gain).add_(torch.randn_like(convolution.weight), alpha=0.02 * gain)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
