"""The layer: raw guidance in, refined map out."""

from collections.abc import Sequence

from torch import Tensor, nn

from spatialprop.ops import propagate
from spatialprop.ops.backends import check_backend
from spatialprop.ops.contract import (
    autocast,
    check_directions,
    check_floating,
    check_integer,
    check_merge,
    check_together,
)
from spatialprop.ops.normalization import MODES, ONE_WAY_MODES

CONNECTIONS = {"one_way": 1, "three_way": 3}


class SpatialPropagation(nn.Module):
    """Propagate a map along affinities that a guidance network predicts.

    The layer has no parameters: every affinity comes from the guidance. It normalises the gates and runs one or more
    cascaded units, each fed by the merged output of the one before.

    Args:
        channels: Channels C of the map; None takes any number, which then share their gates.
        connection: "three_way" or "one_way".
        groups: How many groups of channels have gates of their own; by default C, each channel its own (the paper).
            1 shares the gates between all channels.
        normalization: A mode of `normalize_gates`.
        units: Number of cascaded units.
        separate_gates: Give each unit gates of its own; by default all use the same.
        merge: "max", "mean" or, for a single unit, "none".
        directions: Where information travels, by default right, down, left and up.
        backend: See `propagate`.

    Example:
        >>> import torch
        >>> from spatialprop import SpatialPropagation
        >>> layer = SpatialPropagation(channels=32)
        >>> layer.guidance_channels
        384
        >>> x, guidance = torch.rand(1, 32, 64, 64), torch.randn(1, 384, 64, 64)
        >>> layer(x, guidance).shape
        torch.Size([1, 32, 64, 64])
    """

    def __init__(
        self,
        channels: int | None,
        *,
        connection: str = "three_way",
        groups: int | None = None,
        normalization: str = "clamp",
        units: int = 2,
        separate_gates: bool = False,
        merge: str = "max",
        directions: Sequence[str] | None = None,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        check_merge(merge)
        check_backend(backend)
        if connection not in tuple(CONNECTIONS):
            raise ValueError(f"connection must be one of {', '.join(CONNECTIONS)}; got {connection!r}")
        if normalization not in MODES:
            raise ValueError(f"normalization must be one of {', '.join(MODES)}; got {normalization!r}")
        if normalization in ONE_WAY_MODES and connection != "one_way":
            raise ValueError(
                f"normalization {normalization!r} is stable for connection='one_way' only; "
                f"use 'clamp', 'unit' or 'stochastic'"
            )
        if channels is not None:
            check_integer("channels", channels, 1)
        groups = (channels or 1) if groups is None else groups
        check_integer("groups", groups, 1)
        check_integer("units", units, 1)
        if not isinstance(separate_gates, bool):
            raise TypeError(f"separate_gates must be True or False; got {separate_gates!r}")
        if channels is None and groups != 1:
            raise ValueError(
                f"any number of channels can share gates only: groups = {groups}, channels = None; set groups=1"
            )
        if channels is not None and channels % groups != 0:
            raise ValueError(f"groups must divide the channels: groups = {groups}, channels = {channels}")
        if merge == "none" and units > 1:
            raise ValueError(
                f"merge='none' keeps one map a direction, which a further unit cannot take in; "
                f"got units = {units}, set units=1 or merge='max'"
            )
        self.channels = channels
        self.connection = connection
        self.groups = groups
        self.normalization = normalization
        self.units = units
        self.separate_gates = separate_gates
        self.merge = merge
        self.directions = check_directions(directions)
        self.backend = backend

    @property
    def guidance_channels(self) -> int:
        """Channels that the guidance must have: units with gates of their own, times D * K * G."""
        return self._gate_sets * len(self.directions) * CONNECTIONS[self.connection] * self.groups

    @property
    def _gate_sets(self) -> int:
        return self.units if self.separate_gates else 1

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """Refine `x` (N, C, H, W) under raw `guidance` (N, guidance_channels, H, W).

        The channels of the guidance are, from the outermost: unit (if each has its own), direction, connection, group.
        """
        check_floating("x", x)
        check_floating("guidance", guidance)
        if guidance.dim() != 4 or guidance.shape[1] != self.guidance_channels:
            raise ValueError(
                f"guidance must be (N, {self.guidance_channels}, H, W): {self._gate_sets} set(s) of gates x "
                f"{len(self.directions)} directions x {CONNECTIONS[self.connection]} connections x {self.groups} "
                f"groups; got {tuple(guidance.shape)}"
            )
        if x.dim() != 4 or x.shape[1] != (self.channels or x.shape[1]):
            raise ValueError(f"x must be (N, {self.channels or 'C'}, H, W); got {tuple(x.shape)}")
        x, guidance = autocast(x), autocast(guidance)
        check_together(x, "guidance", guidance)
        return self.propagate(x, self.gates(guidance))

    def gates(self, guidance: Tensor) -> list[Tensor]:
        """The raw gates in `guidance`, one set (N, D, K, G, H, W) for all units or one for each; views of it."""
        layout = (self._gate_sets, len(self.directions), CONNECTIONS[self.connection], self.groups)
        raw = guidance.reshape(guidance.shape[0], *layout, *guidance.shape[2:])  # (N, sets, D, K, G, H, W)
        return list(raw.unbind(1))

    def propagate(self, x: Tensor, gate_sets: Sequence[Tensor]) -> Tensor:
        """Refine `x` (N, C, H, W) through the gates that `gates` gave, which are normalised on the way."""
        for unit in range(self.units):
            gates = gate_sets[unit % self._gate_sets]
            x = propagate(
                x,
                gates,
                normalize=self.normalization,
                directions=self.directions,
                merge=self.merge,
                backend=self.backend,
            )
        return x

    def extra_repr(self) -> str:
        return (
            f"{self.channels}, connection={self.connection!r}, groups={self.groups}, "
            f"normalization={self.normalization!r}, units={self.units}, separate_gates={self.separate_gates}, "
            f"merge={self.merge!r}, directions={self.directions}, backend={self.backend!r}"
        )
