"""Compiled kernels: kept on disk, never used after an upgrade, and announced to whoever waits for them."""

import logging
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import spatialprop
from spatialprop import propagate
from spatialprop.ops.machine import jit


def run_in_copy(folder: Path, **environment: str) -> str:
    """Propagate a ramp with a copy of the package, in a process of its own."""
    code = """
import torch, spatialprop
from spatialprop.ops.machine.jit import CAN_CACHE
x = torch.arange(6.0).view(1, 1, 2, 3)
out = spatialprop.propagate(x, torch.full((1, 4, 3, 1, 2, 3), 0.2), backend="cpu")
print(CAN_CACHE, spatialprop.__file__.startswith(FOLDER), round(out.sum().item(), 4))
"""
    shutil.copytree(
        Path(spatialprop.__file__).parent, folder / "spatialprop", ignore=shutil.ignore_patterns("__pycache__")
    )
    command = [sys.executable, "-c", f"FOLDER = {str(folder)!r}\n{code}"]
    result = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(folder), **environment},
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.slow
def test_kernels_are_kept_on_disk(tmp_path):
    caches, total = run_in_copy(tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache")).split(" True ")
    assert caches == "True"
    assert list((tmp_path / "cache").rglob("*forward_items*.nbc"))
    expected = propagate(torch.arange(6.0).view(1, 1, 2, 3), torch.full((1, 4, 3, 1, 2, 3), 0.2), backend="naive")
    assert float(total) == pytest.approx(expected.sum().item(), abs=1e-3)


@pytest.mark.slow
def test_an_install_without_any_place_for_a_cache_still_works(tmp_path):
    # A locator that serves notebooks only finds no place for a package: as where nothing can be written.
    output = run_in_copy(tmp_path, NUMBA_CACHE_LOCATOR_CLASSES="IPythonCacheLocator", NUMBA_CACHE_DIR="")
    assert output.startswith("False True ")


@pytest.fixture
def notice(monkeypatch):
    monkeypatch.setattr(jit, "_PATIENCE", 0.1)
    return jit._Notice()


def compilation(module="spatialprop.ops.machine.vectors"):
    return SimpleNamespace(data={"dispatcher": SimpleNamespace(py_func=SimpleNamespace(__module__=module))})


def test_a_long_compilation_is_announced_once(notice, caplog):
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            notice.on_start(compilation())
            notice.on_start(compilation())  # a function that the first one calls
            notice.on_end(compilation())
            time.sleep(0.3)
            notice.on_end(compilation())
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "Compiling CPU kernels" in record.getMessage()
    assert "spatialprop warmup" in record.getMessage()


@pytest.mark.parametrize("module", ["spatialprop.ops.machine.vectors", "somebody.else"])
def test_neither_short_compilations_nor_those_of_others_are_announced(notice, caplog, module):
    with caplog.at_level(logging.WARNING):
        notice.on_start(compilation(module))
        time.sleep(0 if module.startswith("spatialprop") else 0.3)
        notice.on_end(compilation(module))
        time.sleep(0.3)
    assert not caplog.records


def test_compiled_code_is_named_after_all_kernel_sources():
    from spatialprop.ops.propagation.cpu.kernels import forward_items

    assert forward_items.py_func.__qualname__ == f"forward_items-{jit._VERSION}"
    left, found = [path for path in jit._OPS.rglob("*.py") if "machine.jit import" in path.read_text()], set()
    while left:  # whatever these import is compiled into the kernels too
        path = left.pop()
        names = re.findall(r"^from spatialprop\.(ops[\w.]*) import ([\w, ]+)$", path.read_text(), re.MULTILINE)
        found.add(path)
        for module, imported in names:
            parts = [module, *(f"{module}.{name}" for name in imported.split(", "))]
            modules = {jit._OPS.parent / f"{part.replace('.', '/')}.py" for part in parts}
            left += [one for one in modules - found if one.is_file()]
    assert len(found) > 8
    assert found - set(jit._SOURCES) == {jit._OPS / "normalization.py"}  # a call hands its numbers over


@pytest.mark.slow
def test_another_source_of_kernels_gives_compiled_code_another_name(tmp_path):
    package = tmp_path / "spatialprop"
    shutil.copytree(Path(spatialprop.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    code = "from spatialprop.ops.machine.jit import _VERSION; print(_VERSION)"
    names = []
    for changed in (None, "ops/machine/halves.py", "ops/contract.py", "ops/choosing/cpu/kernels.py"):
        if changed is not None:
            with (package / changed).open("a") as file:
                file.write("# another release\n")
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        names.append(subprocess.check_output([sys.executable, "-c", code], env=environment, text=True, cwd=tmp_path))
    assert len(set(names)) == 4


@pytest.mark.slow
def test_nothing_is_left_to_compile_after_a_warmup():
    code = """
import torch
from numba.core import event
from spatialprop.ops import propagate, spread, warmup
warmup()
ours = lambda e: e.data["dispatcher"].py_func.__module__.startswith("spatialprop")
with event.install_recorder("numba:compile") as recorder:
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        for k, g, merge in ((1, 1, "max"), (3, 12, "none"), (3, 2, "mean")):
            x = torch.rand(2, 12, 9, 70).to(dtype).requires_grad_()
            gates = torch.rand(2, 4, k, g, 9, 70).div(3).to(dtype).mT.contiguous().mT.requires_grad_()
            propagate(x, gates, merge=merge).sum().backward()
        affinity = torch.rand(2, 16, 9, 70).to(dtype).requires_grad_()
        spread(x, affinity, [1, 3]).sum().backward()
print(len([e for _, e in recorder.buffer if ours(e)]))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "0", result.stderr
