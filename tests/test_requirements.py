"""What the libraries that training stands on are known to break, and how it is kept away."""

import subprocess
import sys
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement

ALLOWED = {parsed.name: parsed.specifier for parsed in map(Requirement, requires("spatialprop") or ())}

EVERY_MODULE = """
import importlib, pkgutil, sys
sys.modules["torchvision"] = None  # importing it fails, as that of a GPU build does beside a torch without one
import spatialprop
for module in pkgutil.walk_packages(spatialprop.__path__, "spatialprop."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


@pytest.mark.parametrize(
    ("name", "works", "breaks"),
    [
        ("hydra-core", "1.3.8", "1.4.0"),
        ("omegaconf", "2.3.1", "2.4.0"),  # Hydra 1.3 does not start with it
        ("albumentations", "2.0.8", "2.1.0"),  # no longer under the MIT license
        ("pydensecrf2", "1.1", "1.0"),
    ],
)
def test_versions_known_to_break_are_not_installed(name, works, breaks):
    assert works in ALLOWED[name]
    assert breaks not in ALLOWED[name]


def test_nothing_needs_torchvision():
    """There is no build of it for a torch without CUDA."""
    done = subprocess.run([sys.executable, "-c", EVERY_MODULE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
