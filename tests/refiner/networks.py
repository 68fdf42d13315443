"""Networks as they are after some training, as it were: gates are large, and batch norm has seen images."""

from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import nn

from spatialprop.errors import InputError
from spatialprop.nn import RefinementNetwork
from spatialprop.nn.guidance import LightGuidance
from spatialprop.nn.trusting import TrustingNetwork


def trained(guidance=None, *, seed=0, std=0.3, **options):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = RefinementNetwork(guidance or partial(LightGuidance, width=8, stages=3), **options)
        nn.init.normal_(network.guidance.head.weight, std=std)
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(std=0.1)
                layer.running_var.uniform_(0.5, 2)
    return network.eval()


def trusting(*, seed=0, std=0.5, **options):
    small = {"widths": (8, 8, 8), "depths": (0, 1, 1), "offsets": (2, 5), "windows": (4, 8)}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = TrustingNetwork(**{**small, **options})
        nn.init.normal_(network.guidance.head.weight, std=std)
        for name, parameter in network.guidance.named_parameters():
            if name.endswith("second.weight"):  # which training starts at nothing
                nn.init.normal_(parameter, std=0.1)
    return network.eval()


def twice():
    """A network that is shown what a first one changed."""
    return trusting(first=trusting(seed=1))


def each_kind():
    """A network of either kind, by its name."""
    return {
        "trusting": trusting(),
        "twice": twice(),
        "by gates": trained(),
        "by gates and hints": trained(hints=("confidence",)),
    }


@contextmanager
def errors_that_name(path):
    """Let an `InputError` pass that says which file it is about."""
    try:
        yield
    except InputError as error:
        if str(path) not in str(error):
            raise AssertionError(f"{error} does not name {path}") from error


def photograph(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def probabilities(classes, height, width, seed=0):
    scores = np.random.default_rng(seed).normal(0, 2, (classes, height, width))
    shares = np.exp(scores)
    return (shares / shares.sum(axis=0)).astype(np.float32)
