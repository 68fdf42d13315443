"""The backends that this machine can run, as fixtures, and the settings of hypothesis."""

from typing import NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, settings

from spatialprop.ops.backends import DRIVERS, why_not

# The same examples on every run, and no deadline: machines that run tests are slow and shared.
settings.register_profile(
    "repeatable", derandomize=True, deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")


class Backend(NamedTuple):
    name: str
    device: str


NAIVE = Backend("naive", "cpu")
COMPILED = [Backend(name, name) for name in DRIVERS if getattr(torch, name).is_available() and not why_not(name)]


# Session scope, because hypothesis refuses fixtures that would have to be rebuilt for each example.
@pytest.fixture(scope="session", params=[NAIVE, *COMPILED], ids=lambda backend: backend.name)
def backend(request):
    """Every backend in turn."""
    return request.param


@pytest.fixture(scope="session", params=COMPILED, ids=lambda backend: backend.name)
def compiled(request):
    """Every compiled backend in turn."""
    return request.param
