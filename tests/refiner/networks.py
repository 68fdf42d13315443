"""Networks as they are after some training, as it were: gates are large, and batch norm has seen images."""

from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import nn

from spatialprop.errors import InputError
from spatialprop.nn import RefinementNetwork
from spatialprop.nn.guidance import LightGuidance


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
