"""What the package declares that it needs, and what of that is known to break."""

import ast
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.experiment.tiny import REPOSITORY

SOURCE = REPOSITORY / "src" / "spatialprop"
DECLARED = [Requirement(line) for line in requires("spatialprop") or ()]
ALLOWED = {parsed.name: parsed.specifier for parsed in DECLARED}

# Distributions whose packages have other names.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "cupy": "cupy-cuda12x",
    "cv2": "opencv-python-headless",
    "hydra": "hydra-core",
    "pydensecrf": "pydensecrf2",
    "pytorch_lightning": "pytorch-lightning",
    "typing_extensions": "typing-extensions",
    "wandb_workspaces": "wandb-workspaces",
    "yaml": "pyyaml",
}
# The base install: the operator, the layers and the refiner.
BASE = ("ops", "nn", "refiner", "maskfiles", "cli/__init__.py", "cli/explain.py", "cli/refine", "__init__.py")
# The only optional packages that may be imported, and only where they are used, inside a function.
OPTIONAL = {"cupy": "cuda12", "onnxscript": "onnx", "onnx": "onnx", "pydensecrf": "densecrf", "wandb": "wandb"}
OPTIONAL |= {"wandb_workspaces": "dashboard", "starlette": "serve", "uvicorn": "serve", "pymatting": "matting"}

EVERY_MODULE = """
import importlib, pkgutil, sys
sys.modules["torchvision"] = None  # importing it fails, as that of a GPU build does beside a torch without one
import spatialprop
for module in pkgutil.walk_packages(spatialprop.__path__, "spatialprop."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


def distributions(extra: str) -> set[str]:
    """What an extra adds; those of the base install for ""."""
    return {
        parsed.name.lower()
        for parsed in DECLARED
        if (parsed.marker is None and not extra) or f'extra == "{extra}"' in str(parsed.marker)
    }


@cache
def third_party(path: Path) -> list[tuple[str, bool]]:
    """The packages that a file imports, and whether it does so on being imported itself."""
    tree = ast.parse(path.read_text())
    in_functions = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
    }
    only_for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
        if id(node) not in only_for_types:
            packages = {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"spatialprop"}
            found += [(name, id(node) not in in_functions) for name in packages]
    return found


@pytest.mark.parametrize(
    ("name", "works", "breaks"),
    [
        ("hydra-core", "1.3.8", "1.4.0"),
        ("omegaconf", "2.3.1", "2.4.0"),  # Hydra 1.3 does not start with it
        ("albumentations", "2.0.8", "2.1.0"),  # no longer under the MIT license
        ("pydensecrf2", "1.1", "1.0"),
        ("torch", "2.10.0", "2.9.1"),  # SECURITY.md says why, of the next ones too
        ("pillow", "12.3.0", "12.2.0"),
        ("pytorch-lightning", "2.6.1", "2.5.6"),
        ("pytorch-lightning", "2.6.4", "2.6.3"),
        ("pytorch-lightning", "2.6.1", "2.6.2"),
    ],
)
def test_versions_known_to_break_are_not_installed(name, works, breaks):
    assert works in ALLOWED[name]
    assert breaks not in ALLOWED[name]


def test_the_page_on_security_says_what_is_declared():
    tables = (REPOSITORY / "SECURITY.md").read_text().partition("## Requirements, and why")[2]
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in tables.splitlines() if line.startswith("| ")]
    floors = [row for row in rows if row[1][:1].isdigit()]
    assert {row[0] for row in floors} == {"torch", "pillow", "pytorch-lightning"}
    for name, least, _ in floors:
        assert least.split(",")[0] in [one.version for one in ALLOWED[name] if one.operator == ">="], name
    for names, extras, _ in rows:
        added = set().union(*(distributions(extra) for extra in re.findall("`(.*?)`", extras)))
        for package in [name.split(" ")[0] for name in names.split(", ")] if added else ():
            assert any(package in one for one in added), f"{package} is in none of {extras}"  # optuna by its sweeper
            assert package not in distributions("")


def test_every_import_is_declared():
    base, train = distributions(""), distributions("train")
    for path in sorted(SOURCE.rglob("*.py")):
        place = path.relative_to(SOURCE).as_posix()
        for name, at_once in third_party(path):
            distribution = DISTRIBUTIONS.get(name, name)
            if name in OPTIONAL:
                assert not at_once, f"{place} imports {name}, which only some install; import it where it is used"
                assert distribution in distributions(OPTIONAL[name]), f"{name} is not in [{OPTIONAL[name]}]"
                continue
            installed = base if place.startswith(BASE) and at_once else base | train
            assert distribution in installed, f"{place} imports {name}, which pyproject.toml does not declare"


def test_every_base_requirement_is_used():
    imported = {DISTRIBUTIONS.get(name, name) for path in SOURCE.rglob("*.py") for name, _ in third_party(path)}
    assert distributions("") <= imported
    assert distributions("train") <= imported


def test_extras_are_documented():
    """Whoever reads an error or the guide finds the extra that is missing."""
    guide = (REPOSITORY / "docs" / "training.md").read_text()
    for marker in {str(parsed.marker) for parsed in DECLARED if "extra" in str(parsed.marker)}:
        extra = marker.split('"')[-2]
        assert f"`{extra}`" in guide, extra


@pytest.mark.slow
def test_nothing_needs_torchvision():
    """There is no build of it for a torch without CUDA."""
    done = subprocess.run([sys.executable, "-c", EVERY_MODULE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
