"""Learned spatial propagation: refine the borders of a segmentation along affinities learned from data."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spatialprop.nn import SpatialPropagation as SpatialPropagation
    from spatialprop.ops import normalize_gates as normalize_gates
    from spatialprop.ops import propagate as propagate
    from spatialprop.refiner import Refiner as Refiner
    from spatialprop.values import Colorize as Colorize
    from spatialprop.values import Matte as Matte

__version__ = "0.1.0"

# Imported when first used, so that the command line and tab completion need not wait for torch.
_HOMES = {
    "Colorize": "spatialprop.values",
    "Matte": "spatialprop.values",
    "Refiner": "spatialprop.refiner",
    "SpatialPropagation": "spatialprop.nn",
    "normalize_gates": "spatialprop.ops",
    "propagate": "spatialprop.ops",
}
__all__ = ["Colorize", "Matte", "Refiner", "SpatialPropagation", "normalize_gates", "propagate"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
