"""A guidance network that starts from what a refiner's has learned."""

import logging

from spatialprop.errors import InputError
from spatialprop.nn import JointNetwork, RefinementNetwork
from spatialprop.refiner import describe, load_network

log = logging.getLogger(__name__)
_HEAD = "head."  # what turns features into gates, whose number and meaning depend on these:
_MEANING = ("connection", "groups", "normalization", "separate_gates", "directions")


def start_guidance(network: object, source: str) -> None:
    """Give the guidance of `network` the weights that a refiner's has.

    Another connection, or more groups, need other gates: then all but the last layer is taken over.

    Args:
        network: A refinement, or a joint network with a guidance of its own.
        source: "light", or a .safetensors file of `spatialprop export`.
    """
    refinement = network.refinement if isinstance(network, JointNetwork) else network
    if not isinstance(refinement, RefinementNetwork) or getattr(network, "shares_trunk", False):
        raise ValueError(
            f"guidance.checkpoint={source} is for a guidance network, which this task has not; use task=refine, or "
            f"task=joint with task.share_trunk=false, or set guidance.checkpoint=null"
        )
    try:
        known, _ = load_network(source)
    except (OSError, InputError) as error:
        raise ValueError(
            f"guidance.checkpoint: {error} (spatialprop export RUN --to x.safetensors writes one)"
        ) from None
    own, given = refinement.guidance.state_dict(), known.guidance.state_dict()
    same_gates = all(getattr(known.propagation, name) == getattr(refinement.propagation, name) for name in _MEANING)
    taken = {name: value for name, value in given.items() if same_gates or not name.startswith(_HEAD)}
    fits = all(name in own and own[name].shape == value.shape for name, value in taken.items())
    left = [name for name in own if name not in taken and not name.startswith(_HEAD)]
    if not fits or left or known.hints != refinement.hints:
        settings = {**describe(known)["guidance"], "hints": list(known.hints)}
        raise ValueError(
            f"guidance.checkpoint={source} belongs to another guidance network, one with {settings}; choose that, or "
            f"guidance.checkpoint=null"
        )
    refinement.guidance.load_state_dict(taken, strict=False)
    log.info("The guidance starts from %s%s", source, "" if same_gates else ", but for its last layer")
