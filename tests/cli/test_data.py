"""`spatialprop data`, as it is typed."""

import hashlib
import inspect
import json
import subprocess
import sys
import tarfile
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import get_method
from omegaconf import ListConfig
from PIL import Image
from safetensors.torch import load_file, save_file

from spatialprop.cli import main
from spatialprop.cli.data.config import compose_config
from spatialprop.data import folder, helen, voc
from spatialprop.data.sets import Archive, sources
from spatialprop.download import Checksum
from spatialprop.experiment.overrides import CONF
from spatialprop.nn.segmenters import UNet
from tests.data.sets.test_camvid import write_camvid
from tests.data.sets.test_helen import write_helen
from tests.data.sets.test_voc import VOC_TEST, write_sbd, write_voc
from tests.data.tiny_folder import save_label, write_tiny_folder

VOC_MODULE = import_module("spatialprop.data.sets.voc")
NETWORK = ["segmenter.network.width=4", "segmenter.network.depth=2"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def told(capsys, *arguments, code=0):
    """What a command prints, on both streams."""
    assert main(["data", *map(str, arguments)]) == code
    printed = capsys.readouterr()
    return printed.out + printed.err


# get


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """VOC's archive on a local server, with its checksum in place of the published one."""
    write_voc(tmp_path / "source", test=False)
    (tmp_path / "www").mkdir()
    archive = tmp_path / "www" / "VOCtrainval_11-May-2012.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(tmp_path / "source" / "VOCdevkit", arcname="VOCdevkit")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "www")) as server:
        address = f"http://127.0.0.1:{server.server_port}/{archive.name}"
        checksum = Checksum("md5", hashlib.md5(archive.read_bytes()).hexdigest())
        served = replace(VOC_MODULE.SOURCE, archives=(Archive(address, checksum),))
        monkeypatch.setattr(VOC_MODULE, "SOURCE", served)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield archive
        server.shutdown()
        thread.join()


def test_voc_is_downloaded_checked_and_unpacked(served, tmp_path, capsys):
    printed = told(capsys, "get", "voc", "--to", "to")
    assert "Terms: research" in printed
    assert "spatialprop data check voc root=to" in printed
    assert len(voc(root=str(tmp_path / "to")).train) == 2
    (tmp_path / "to" / "VOCdevkit" / "VOC2012" / "JPEGImages" / "2007_000032.jpg").unlink()
    assert "1 files written below to" in told(capsys, "get", "voc", "--to", "to")


def test_an_archive_that_is_not_the_published_one_is_not_unpacked(served, tmp_path, capsys):
    served.write_bytes(served.read_bytes() + b"more")
    printed = told(capsys, "get", "voc", "--to", "to", code=2)
    assert "is not the file that was asked for: MD5" in printed
    assert not (tmp_path / "to" / "VOCdevkit").exists()


def test_a_mirror_must_have_the_same_archive(served, tmp_path, capsys):
    address = VOC_MODULE.SOURCE.archives[0].address
    (served.parent / "mirrored.tar").write_bytes(served.read_bytes())
    served.unlink()
    assert "cannot download" in told(capsys, "get", "voc", "--to", "to", code=2)
    mirror = address.replace(served.name, "mirrored.tar")
    assert "files written" in told(capsys, "get", "voc", "--to", "to", "--mirror", mirror)


@pytest.mark.parametrize("name", sources())
def test_where_every_data_set_comes_from_is_told(name, capsys):
    printed = told(capsys, "get", name)
    assert sources()[name].page in printed
    assert "Terms: " in printed
    assert "{root}" not in printed


def test_checksums_are_whole():
    for source in sources().values():
        for archive in source.archives:
            assert len(archive.checksum.digits) == {"md5": 32, "sha256": 64}[archive.checksum.kind]
            assert archive.name == Path(archive.address).name


@pytest.mark.parametrize("name", ["cityscapes", "helen", "camvid"])
def test_what_needs_registration_is_not_downloaded(name, tmp_path, capsys):
    assert "Nothing of it" in told(capsys, "get", name, "--to", "to")
    assert not (tmp_path / "to").exists()


def test_an_unknown_name(capsys):
    assert "no data set 'vox' to get; there are camvid, cityscapes" in told(capsys, "get", "vox", code=2)


# check


def test_a_whole_data_set_gets_a_table_and_a_picture(tmp_path, capsys):
    write_tiny_folder(tmp_path / "discs")
    printed = told(capsys, "check", "folder", "root=discs")
    assert "| train |      4 |          56x40 |" in printed
    assert "| 1 disc 1" in printed
    assert "test is the same as val." in printed
    assert "No problems." in printed
    with Image.open(tmp_path / "data_folder.png") as sheet:
        assert sheet.width > 600
        colours = np.unique(np.asarray(sheet.convert("RGB")).reshape(-1, 3), axis=0)
        assert len(colours) > 1000


def test_all_problems_are_listed_and_the_exit_code_says_so(tmp_path, capsys):
    root = write_tiny_folder(tmp_path / "discs")
    (root / "train" / "labels" / "train_1.png").unlink()
    save_label(root / "val" / "labels" / "val_2.png", np.full((40, 56), 9, np.uint8))
    np.savez(root / "val" / "coarse" / "val_0.npz", probs=np.zeros((5, 5, 7), np.uint8))
    printed = told(capsys, "check", "folder", "data.root=discs", "--sheet", "sheets/a.png", code=1)
    assert "3 problems:" in printed
    for words in (
        "train: ",
        "train_1.png does not exist",
        "val_2.png holds the label 9",
        "val_0.npz has shape (5, 5, 7)",
    ):
        assert words in printed
    assert (tmp_path / "sheets" / "a.png").is_file()


def test_nothing_that_can_be_read(tmp_path, capsys):
    root = write_tiny_folder(tmp_path / "discs", images=1)
    for path in root.glob("*/labels/*.png"):
        path.unlink()
    assert "No picture" in told(capsys, "check", "folder", "root=discs", code=1)


def test_what_is_worth_knowing_is_remarked(tmp_path, capsys):
    write_voc(tmp_path / "voc")
    write_sbd(tmp_path / "voc")
    printed = told(capsys, "check", "voc", "root=voc", "train_split=trainaug", "test_split=test", "--examples", "1")
    assert "| train |      4 |          44x30 |" in printed
    assert "val holds nothing of: aeroplane, bicycle" in printed
    assert "test has no labels" in printed
    write_camvid(tmp_path / "camvid")
    (tmp_path / "coarse" / "train").mkdir(parents=True)
    np.savez(tmp_path / "coarse" / "train" / "0001TP_train000.npz", probs=np.zeros((11, 4, 6), np.uint8))
    assert "train: 2 images have no coarse map." in told(capsys, "check", "camvid", "root=camvid", "coarse=coarse")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["vox"], "data/vox"),
        (["voc"], "data.root"),
        (["voc", "rot=DIR"], "Did you mean 'root'?"),
        (["voc", "DIR"], "settings are key=value, such as root=DIR; got 'DIR'"),
        (["voc", "root=nowhere"], "spatialprop data get voc"),
        (["helen", "root=nowhere"], "data.points=FILE"),
        (["synthetic", "train=0"], "data.train must be at least 1 image"),
        (["synthetic", "--examples", "0"], "must be at least 1"),
    ],
)
def test_what_cannot_be_opened_is_said_in_one_line(capsys, arguments, words):
    printed = told(capsys, "check", *arguments, code=2)
    assert printed.startswith("spatialprop data: ")
    assert words in printed
    assert printed.count("\n") == 1


# convert


def test_a_converted_data_set_is_the_same_read_as_a_folder(tmp_path, capsys):
    root = write_helen(tmp_path / "helen")
    settings = ["helen", f"root={root}", f"points={root / 'points.csv'}", "size=64", "--to", "to"]
    assert "5 images written" in told(capsys, "convert", *settings)
    before, after = helen(root=str(root), points=str(root / "points.csv"), size=64), folder(root="to")
    for name in ("train", "val", "test"):
        one, other = getattr(before, name), getattr(after, name)
        assert sorted(one.names) == other.names
        for index, image in enumerate(one.names):
            example, again = one[index], other[other.names.index(image)]
            np.testing.assert_array_equal(example.image, again.image)
            np.testing.assert_array_equal(example.label, again.label)
    assert after.labels.mirrored == before.labels.mirrored
    assert (after.labels.name, after.labels.classes) == ("helen", before.labels.classes)
    (tmp_path / "to" / "val" / "labels" / f"{before.val.names[0]}.png").unlink()
    assert "1 images written" in told(capsys, "convert", *settings)
    assert "of another data set; give another" in told(capsys, "convert", "synthetic", "--to", "to", code=2)


# predict


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    save_file(UNet(21, factor=8, width=4, depth=2).state_dict(), tmp_path / "unet.safetensors")
    return f"segmenter.checkpoint={tmp_path / 'unet.safetensors'}"


def predict(capsys, weights, *more, code=0):
    return told(capsys, "predict", "data=voc", "data.root=voc", weights, *NETWORK, *more, "--to", "coarse", code=code)


def test_coarse_maps_are_written_once_and_read_by_the_data_set(tmp_path, capsys, weights):
    write_voc(tmp_path / "voc")
    write_sbd(tmp_path / "voc")
    assert "4 coarse maps written" in predict(capsys, weights)
    assert "3 coarse maps written" in predict(capsys, weights, "data.train_split=trainaug", "data.test_split=test")
    splits = voc(root="voc", train_split="trainaug", test_split="test", coarse="coarse")
    assert all(part.without_coarse == [] for part in splits)
    example = splits.train[0]
    assert example.coarse.shape == (21, 4, 6)
    assert example.coarse.dtype == np.uint8

    network = UNet(21, factor=8, width=4, depth=2).eval()
    network.load_state_dict(load_file(tmp_path / "unet.safetensors"))
    image = torch.from_numpy(example.image.transpose(2, 0, 1).copy()).float()[None] / 255
    with torch.no_grad():
        expected = network(image).softmax(1)[0] * 255
    np.testing.assert_allclose(example.coarse, expected.numpy(), atol=0.6)

    (tmp_path / "coarse" / "val" / "2007_000033.npz").unlink()
    assert "1 coarse maps written" in predict(capsys, weights)
    assert "0 coarse maps written" in predict(capsys, weights, "data.coarse=coarse")
    assert not list((tmp_path / "coarse").rglob(".*"))


def test_settings_may_stand_behind_options(tmp_path, capsys, weights):
    write_voc(tmp_path / "voc")
    printed = told(
        capsys, "predict", "data=voc", "--splits", "val", "--to", "coarse", "data.root=voc", weights, *NETWORK
    )
    assert "2 coarse maps written" in printed
    assert "| train |" in told(capsys, "check", "voc", "--sheet", "sheet.png", "root=voc")
    for late in ("root", "--sheets=a.png"):
        with pytest.raises(SystemExit) as stopped:
            main(["data", "check", "voc", "--sheet", "sheet.png", late])
        assert stopped.value.code == 2
        assert f"unrecognized arguments: {late}" in capsys.readouterr().err


def test_only_the_splits_that_are_asked_for(tmp_path, capsys, weights):
    write_voc(tmp_path / "voc")
    predict(capsys, weights, "data.test_split=test", "--splits", "test")
    assert [path.name for path in (tmp_path / "coarse").glob("*/*")] == [f"{VOC_TEST[0]}.npz"]


def test_maps_of_two_segmenters_are_never_mixed(tmp_path, capsys, weights):
    write_voc(tmp_path / "voc")
    predict(capsys, weights)
    before = (tmp_path / "coarse" / "segmenter.json").read_text()
    assert json.loads(before)["data"] == "voc"
    save_file(UNet(21, factor=8, width=4, depth=2).state_dict(), tmp_path / "unet.safetensors")
    assert "of another segmenter or data set (weights_sha256 differ" in predict(capsys, weights, code=2)
    assert (tmp_path / "coarse" / "segmenter.json").read_text() == before
    (tmp_path / "coarse" / "segmenter.json").unlink()
    assert "no segmenter.json that names their segmenter" in predict(capsys, weights, code=2)


def test_a_segmenter_without_weights_and_data_without_files(tmp_path, capsys, weights):
    write_voc(tmp_path / "voc")
    assert "this segmenter has no weights yet" in predict(capsys, "segmenter.checkpoint=null", code=2)
    assert "needs a segmenter with a network of its own" in told(
        capsys, "predict", "data=voc", "data.root=voc", "segmenter=files", "--to", "coarse", code=2
    )
    assert "reads no coarse maps" in told(capsys, "predict", "data=synthetic", weights, "--to", "coarse", code=2)
    assert not (tmp_path / "coarse").exists()


# submit


def test_results_are_packed_for_the_server(tmp_path, capsys):
    write_voc(tmp_path / "voc")
    (tmp_path / "made").mkdir()
    where = ["submit", "voc", "root=voc", "--predictions", "made", "--to", "to"]
    printed = told(capsys, *where, code=1)
    assert f"{VOC_TEST[0]}.png does not exist" in printed
    assert "1 problems; nothing was written" in printed
    assert not (tmp_path / "to").exists()
    save_label(tmp_path / "made" / f"{VOC_TEST[0]}.png", np.full((25, 40), 8, np.uint8))
    assert "upload it" in told(capsys, *where, "--competition", "comp5")
    with tarfile.open(tmp_path / "to" / "results.tgz") as tar:
        assert tar.getnames() == [f"results/VOC2012/Segmentation/comp5_test_cls/{VOC_TEST[0]}.png"]


# imports


@pytest.mark.slow
def test_help_imports_nothing_heavy_and_check_nothing_of_training(tmp_path):
    write_tiny_folder(tmp_path / "discs", images=1)
    code = """
import sys
from spatialprop.cli import main
try:
    main(["data", "predict", "--help"])
except SystemExit as stopped:
    assert stopped.code == 0
assert not {"torch", "numpy", "hydra", "matplotlib"} & sys.modules.keys()
assert main(["data", "check", "folder", "root=discs"]) == 0
assert not {"pytorch_lightning", "lightning", "torchmetrics"} & sys.modules.keys()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "segmenter=fcn8s" in done.stdout


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "data").glob("*.yaml")))
def test_every_config_says_all_that_its_data_set_takes(name):
    settings = dict(compose_config([f"data={name}"]).data.items_ex(resolve=False))
    taken = inspect.signature(get_method(settings.pop("_target_"))).parameters
    assert settings.keys() == taken.keys()
    for key, value in settings.items():
        default = taken[key].default
        if default is not inspect.Parameter.empty and key != "test_splits":
            assert (tuple(value) if isinstance(value, ListConfig) else value) == default
    assert (CONF.parent / "data" / name / "README.md").is_file()
