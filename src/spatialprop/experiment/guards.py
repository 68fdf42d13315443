"""Configs from elsewhere choose settings, never code."""

from collections.abc import Iterator
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig

PACKAGES = ("spatialprop.nn.", "spatialprop.data.", "spatialprop.tasks.")


def refuse_foreign_targets(config: DictConfig, *, trust: bool) -> None:
    """Raise unless each `_target_` in a config is a part of spatialprop, or the caller trusts the config."""
    if trust:
        return
    for where, target in _targets(config, ""):
        # A name under spatialprop may still lead elsewhere, to a module that was imported there.
        inside = target.startswith(PACKAGES) and f"{get_object(target).__module__}.".startswith(PACKAGES)
        if not inside:
            raise ValueError(
                f"{where} = {target!r} would run code from outside of spatialprop's networks, data and tasks; "
                f"if you know where this config comes from, say so: trust=true"
            )


def _targets(node: Any, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, DictConfig):
        for key, value in node.items_ex(resolve=True):
            if key == "_target_":
                yield f"{where}_target_", str(value)
            else:
                yield from _targets(value, f"{where}{key!s}.")
    elif isinstance(node, ListConfig):
        for index, value in enumerate(node):
            yield from _targets(value, f"{where}{index}.")
