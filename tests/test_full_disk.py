"""A disk that is full: commands fail, nothing is half-written, what was there before stays, and nothing hidden is left.

The disk is a limit on the size of files, which every write of the process meets, GDAL's and PyTorch's own too.
"""

import json
import logging
import resource
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from spatialprop import Refiner
from spatialprop.callbacks import ResumeCheckpoint
from spatialprop.cli import main as spatialprop
from spatialprop.data.tools import unpack
from spatialprop.experiment.training import train
from tests.experiment.tiny import QUIET, composed, tiny_here
from tests.refiner.networks import photograph
from tests.report.folders import write_run

BEFORE = b"what was there before"
HEIGHT, WIDTH = 90, 120


@contextmanager
def full_disk(limit):
    """No file grows beyond so many bytes: what was written until then stays, and the next write fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Photographs and masks of two images, in the current folder."""
    monkeypatch.chdir(tmp_path)
    Refiner.load("light")(photograph(24, 32), np.eye(24, 32, dtype=np.uint8))  # kernels are not to be written then
    mask = np.random.default_rng(0).integers(0, 2, (HEIGHT // 6, WIDTH // 6), np.uint8).repeat(6, 0).repeat(6, 1)
    for name in ("a", "b"):
        for folder, picture in (("photos", photograph(HEIGHT, WIDTH)), ("masks", mask)):
            Path(folder).mkdir(exist_ok=True)
            Image.fromarray(picture).save(f"{folder}/{name}.png")
    return tmp_path


def coco(place):
    annotation = {"image_id": 1, "segmentation": [[10, 20, 40, 20, 40, 50, 10, 50]]}
    images = [{"id": 1, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}]
    annotations = [{**annotation, "id": number} for number in range(3)]
    (place / "given.json").write_text(json.dumps({"images": images, "annotations": annotations}))


def yolo(place):
    (place / "labels").mkdir()
    (place / "labels" / "a.txt").write_text("0 0.1 0.2 0.6 0.2 0.6 0.7 0.1 0.7\n")


def raster(place):
    rasterio = pytest.importorskip("rasterio")
    random = np.random.default_rng(0)
    for name, values in (
        ("photo.tif", random.integers(0, 256, (3, 300, 300), np.uint8)),
        ("mask.tif", random.integers(0, 9, (1, 300, 300), np.uint8)),
    ):
        grid = {"crs": "EPSG:32633", "transform": rasterio.Affine(0.5, 0, 500000, 0, -0.5, 5800000)}
        shape = {"count": len(values), "height": 300, "width": 300, "dtype": "uint8"}
        with rasterio.open(place / name, "w", driver="GTiff", **shape, **grid) as file:
            file.write(values)


COMMANDS = {
    "folder": (None, ["refine", "photos", "masks", "-o", "out"], "out/a.png", 100),
    "workers": (None, ["refine", "photos", "masks", "-o", "out", "--workers", "2"], "out/a.png", 100),
    "overlay": (None, ["refine", "photos", "masks", "-o", "out", "--overlay"], "out/a.png", 2500),
    "probabilities": (None, ["refine", "photos", "masks", "-o", "out", "--probabilities"], "out/a.png", 2500),
    "file": (None, ["refine", "photos/a.png", "masks/a.png", "-o", "out/a.png"], "out/a.png", 100),
    "coco": (coco, ["refine", "--coco", "given.json", "photos", "-o", "out/a.json"], "out/a.json", 100),
    "yolo": (yolo, ["refine", "--yolo", "photos", "labels", "-o", "out"], "out/a.txt", 30),
    "raster": (raster, ["refine", "--raster", "photo.tif", "mask.tif", "-o", "out/a.tif"], "out/a.tif", 2000),
    "raster's header": (raster, ["refine", "--raster", "photo.tif", "mask.tif", "-o", "out/a.tif"], "out/a.tif", 10),
    "matte": (None, ["matte", "photos/a.png", "masks/trimap.png", "-o", "out/a.png"], "out/a.png", 100),
    "cut-out": (
        None, ["matte", "photos/a.png", "masks/trimap.png", "-o", "out/a.png", "--cut-out", "out/cut.png"], "out/a.png",
        100,
    ),
    "explain": (None, ["explain", "photos/a.png", "--pixel", "9,5", "-o", "out/a.png"], "out/a.png", 100),
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name == "workers" else []) for name in COMMANDS]
)
def test_a_refinement_leaves_nothing_half_written(place, name, capsys, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)  # other tests' log files are full now, too
    lay, words, result, limit = COMMANDS[name]
    if lay:
        lay(place)
    if "trimap" in str(words):
        trimap = np.full((HEIGHT, WIDTH), 128, np.uint8)
        trimap[:20], trimap[-20:] = 0, 255
        Image.fromarray(trimap).save("masks/trimap.png")
    (place / result).parent.mkdir()
    (place / result).write_bytes(BEFORE)
    before = files(place)
    with full_disk(limit):
        assert spatialprop(words) in (1, 2)
    assert files(place) == before
    said = capsys.readouterr()
    assert "Traceback" not in said.err + said.out
    assert "too large" in said.err + said.out or "cannot be written" in said.err + said.out


def test_a_report_leaves_nothing_half_written(place):
    write_run(place / "run")
    (place / "run" / "report.html").write_bytes(BEFORE)
    before = files(place)
    with full_disk(2000):
        assert spatialprop(["report", "run"]) == 2
    assert files(place) == before


@pytest.mark.parametrize("target", ["x.safetensors", pytest.param("x.pt2", marks=pytest.mark.slow)])
def test_an_export_leaves_nothing_half_written(place, target):
    from spatialprop.refiner import save_refiner
    from tests.refiner.networks import trained

    save_refiner(trained(), place / "w.safetensors")
    (place / target).write_bytes(BEFORE)
    before = files(place)
    with full_disk(2000):
        if target.endswith(".safetensors"):
            with pytest.raises(OSError, match="too large"):
                save_refiner(trained(), place / target)
        else:
            assert spatialprop(["export", "w.safetensors", "--to", target]) == 2
    assert files(place) == before


def test_a_checkpoint_leaves_nothing_half_written(tmp_path):
    (tmp_path / "last.ckpt").write_bytes(BEFORE)
    content = torch.arange(100_000.0)
    trainer = SimpleNamespace(
        fast_dev_run=False, is_global_zero=True, save_checkpoint=lambda path, weights_only: torch.save(content, path)
    )
    with full_disk(2000), pytest.raises(OSError, match=r"last\.ckpt cannot be written"):
        ResumeCheckpoint(tmp_path, 1).on_train_epoch_end(trainer)
    assert files(tmp_path) == {"last.ckpt": BEFORE}


def test_an_archive_leaves_nothing_half_unpacked(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.bin").write_bytes(bytes(range(256)) * 40)
    archive = Path(shutil.make_archive(str(tmp_path / "a"), "tar", tmp_path / "in"))
    with full_disk(2000), pytest.raises(OSError, match="too large"):
        unpack(archive, tmp_path / "to")
    assert not [path for path in (tmp_path / "to").rglob("*") if path.is_file()]


@pytest.mark.slow
@pytest.mark.parametrize("limit", [400, 20_000, 200_000])
@pytest.mark.filterwarnings("ignore")
def test_a_training_leaves_nothing_half_written(tmp_path, limit):
    """Whichever file is the first that does not fit, the run fails, and all that is there can be read."""
    with full_disk(limit), pytest.raises((OSError, RuntimeError)):
        train(composed("train", *tiny_here("task=segment", "patches=full", "trainer.max_epochs=1")), tmp_path / "run")
    assert not [path for path in (tmp_path / "run").rglob(".*") if path.is_file() and ".hydra" not in str(path)]
    for path in (tmp_path / "run").rglob("*.ckpt"):
        assert torch.load(path, weights_only=True)["state_dict"]


pytestmark = QUIET
