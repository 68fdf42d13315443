"""A guidance network that starts from what a refiner's has learned."""

import logging

from spatialprop.nn import JointNetwork, RefinementNetwork
from spatialprop.refiner.weights import load_network

log = logging.getLogger(__name__)
_HEAD = "head."  # what turns features into gates, whose number depends on connection and groups


def start_guidance(network: object, source: str) -> None:
    """Give the guidance of `network` the weights that a refiner's has.

    Another connection, or more groups, need other gates: then all but the last convolution is taken over.

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
    known, _ = load_network(source)
    own, given = refinement.guidance.state_dict(), known.guidance.state_dict()
    taken = {name: value for name, value in given.items() if name in own and own[name].shape == value.shape}
    strange = sorted(name for name in own.keys() | given.keys() if name not in taken and not name.startswith(_HEAD))
    if strange:
        raise ValueError(
            f"guidance.checkpoint={source} belongs to another guidance network, which differs in {strange[0]} and "
            f"{len(strange) - 1} more; choose the guidance that it was trained with, with its width, stages and hints "
            f"(of these weights: {', '.join(known.hints) or 'none'})"
        )
    refinement.guidance.load_state_dict(taken, strict=False)
    log.info("The guidance starts from %s%s", source, "" if len(taken) == len(own) else ", but for its last layer")
