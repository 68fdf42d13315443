"""The backends that this machine can run, as fixtures, and the settings of hypothesis."""

import hashlib
import importlib.util
import os
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, settings

# Numba notices changes of the file that holds a kernel, not of those it imports: tests must not run on stale kernels.
_OPS = Path(__file__).parents[1] / "src" / "spatialprop" / "ops"
_DIGEST = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(_OPS.rglob("*.py")))).hexdigest()
os.environ.setdefault("NUMBA_CACHE_DIR", str(_OPS / "__pycache__" / _DIGEST[:16]))

# The same examples on every run, and no clock: machines that run tests are slow and shared.
settings.register_profile(
    "repeatable", derandomize=True, deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")


class Backend(NamedTuple):
    name: str
    device: str


NAIVE = Backend("naive", "cpu")
COMPILED = [Backend("cpu", "cpu")]
if torch.cuda.is_available() and importlib.util.find_spec("cupy"):
    COMPILED.append(Backend("cuda", "cuda"))


# Session scope, because hypothesis refuses fixtures that would have to be rebuilt for each example.
@pytest.fixture(scope="session", params=[NAIVE, *COMPILED], ids=lambda backend: backend.name)
def backend(request):
    """Every backend in turn."""
    return request.param


@pytest.fixture(scope="session", params=COMPILED, ids=lambda backend: backend.name)
def compiled(request):
    """Every backend behind the registered operator in turn."""
    return request.param
