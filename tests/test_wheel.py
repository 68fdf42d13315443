"""The built wheel does everything without a checkout."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.experiment.tiny import TINY

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def said(*words: str, folder: Path, **variables: str) -> str:
    """What a command prints; it must end well."""
    done = subprocess.run(
        words,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": "", **variables},
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def sources() -> list[str]:
    """The files of the checkout that a build reads."""
    return [path for path in said("git", "ls-files", folder=ROOT).splitlines() if (ROOT / path).is_file()]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> dict[str, Path]:
    """A source archive of a copy of the checkout, and the wheel that is built from that archive."""
    folder = tmp_path_factory.mktemp("build")
    for path in sources():
        (folder / "copy" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "copy" / path).write_bytes((ROOT / path).read_bytes())
    pip = (sys.executable, "-m", "pip")
    said(*pip, "install", "--quiet", "--target", "tools", "setuptools>=77", folder=folder)
    make = f"from setuptools.build_meta import build_sdist; build_sdist({str(folder)!r})"
    said(sys.executable, "-c", make, folder=folder / "copy", PYTHONPATH=str(folder / "tools"))
    (archive,) = folder.glob("*.tar.gz")
    said(*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(archive), folder=folder)
    (wheel,) = folder.glob("*.whl")
    return {".gz": archive, ".whl": wheel}


def test_nothing_is_missing(built):
    tracked = [path for path in sources() if path.startswith(("src/spatialprop/", "conf/"))]
    expected = {path.replace("conf/", "spatialprop/conf/").removeprefix("src/") for path in tracked}
    with zipfile.ZipFile(built[".whl"]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == expected
    assert {Path(name).suffix for name in names} >= {".cu", ".typed", ".safetensors", ".yaml"}
    with tarfile.open(built[".gz"]) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {*tracked, "setup.py", "pyproject.toml"} <= inside


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """An environment with the wheel and, from the one that runs the tests, all other packages."""
    folder = tmp_path_factory.mktemp("installed")
    said(sys.executable, "-m", "venv", "--without-pip", "environment", folder=folder)
    (site,) = (folder / "environment").glob("lib/python*/site-packages")
    said(
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(built[".whl"]),
        folder=folder,
    )  # fmt: skip
    others = [path for path in sys.path if path.endswith("site-packages")]
    (site / "others.pth").write_text("\n".join(others))  # paths in it only: an editable install there stays unread
    return folder / "environment" / "bin"


def test_it_works_outside_of_a_checkout(installed, tmp_path):
    python, command = str(installed / "python"), (str(installed / "python"), "-m", "spatialprop")
    found = said(python, "-c", "import spatialprop; print(spatialprop.__file__)", folder=tmp_path).strip()
    assert found.startswith(str(installed.parent))
    version = said(*command, "--version", folder=tmp_path)
    assert version == said(str(site_script(installed)), "--version", folder=tmp_path)
    assert version.startswith("spatialprop ")
    assert "No problems." in said(*command, "data", "check", "synthetic", "train=2", "val=1", "test=1", folder=tmp_path)

    options = [*TINY, "trainer.max_epochs=1", "trainer.limit_train_batches=1", "segmenter.fit.max_epochs=1"]
    run = said(*command, "train", *options, folder=tmp_path).strip().splitlines()[-1]
    assert (tmp_path / run / "report.html").is_file()
    again = said(*command, "evaluate", f"run={run}", "callbacks.progress_bar=false", folder=tmp_path)
    assert (tmp_path / again.strip().splitlines()[-1] / "metrics.json").is_file()
    assert "trainer.max_epochs" in said(
        *command, "completion", "--line", "spatialprop train trainer.max", folder=tmp_path
    )

    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)).save(tmp_path / "photo.png")
    Image.fromarray(np.repeat([0, 255], 25).astype(np.uint8)[None].repeat(40, 0)).save(tmp_path / "mask.png")
    said(*command, "refine", "photo.png", "mask.png", "-o", "out.png", folder=tmp_path)
    with Image.open(tmp_path / "out.png") as refined:
        assert refined.size == (50, 40)


def site_script(installed: Path) -> Path:
    """The command as pip has written it; with --target it lies beside the package."""
    (script,) = installed.parent.glob("lib/python*/site-packages/bin/spatialprop")
    script.write_text(f"#!{installed / 'python'}\n" + script.read_text().partition("\n")[2])
    return script
