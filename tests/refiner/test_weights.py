"""A file of weights names its network, and chooses nothing else."""

import json
import struct
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from spatialprop import Refiner
from spatialprop.nn.guidance import LightGuidance, UNetGuidance, VGG16Guidance
from spatialprop.refiner import InputError, packaged, save_refiner
from spatialprop.refiner.weights import build, describe, find
from tests.refiner.networks import errors_that_name, photograph, probabilities, trained, trusting, twice

SETTINGS = describe(trained())
TRUSTING = describe(trusting())


@pytest.mark.parametrize(
    "network",
    [
        trained(),
        trained(partial(LightGuidance, width=16, stages=4, stride=1), hints=("entropy", "confidence")),
        trained(partial(UNetGuidance, width=3), connection="one_way", normalization="tanh", units=3),
        trained(separate_gates=True, merge="mean", directions=["up", "left"], normalization="stochastic"),
        trusting(),
        trusting(widths=(8, 4, 8, 8), depths=(1, 0, 0, 2), units=1, separate_gates=False, fine_offsets=(2,)),
        twice(),
    ],
)
def test_saved_and_loaded_it_is_the_same(network, tmp_path):
    path = tmp_path / "new" / "mine.safetensors"
    save_refiner(network, path, "trained on nothing")
    loaded = Refiner.load(path)
    assert loaded.description == "trained on nothing"
    assert describe(loaded.network) == describe(network)
    image, coarse = photograph(40, 30), probabilities(3, 5, 4)
    expected = Refiner(network).probabilities(image, coarse)
    np.testing.assert_array_equal(loaded.probabilities(image, coarse), expected)
    assert list(path.parent.iterdir()) == [path]
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["spatialprop"])["format"] == 2


def test_what_comes_along_loads():
    for name in packaged():
        assert Refiner.load(name).description


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (trained(num_classes=3, hidden=4), "train with hidden=null"),
        (trained(partial(VGG16Guidance, width=1)), "one of light, unet; got VGG16Guidance"),
    ],
)
def test_networks_that_no_file_describes(network, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        save_refiner(network, tmp_path / "mine.safetensors")


def test_what_is_saved_is_checked(tmp_path):
    with pytest.raises(ValueError, match=r"call it mine.safetensors"):
        save_refiner(trained(), tmp_path / "mine.pth")
    diverged = trained()
    diverged.guidance.head.weight.data[0] = torch.nan
    with pytest.raises(ValueError, match=r"guidance\.head\.weight is not finite"):
        save_refiner(diverged, tmp_path / "mine.safetensors")
    assert not list(tmp_path.iterdir())


def changed(change, guidance=False):
    settings = json.loads(json.dumps(SETTINGS))
    (settings["guidance"] if guidance else settings).update(change)
    return settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (None, "must be an object"),
        ([], "must be an object"),
        ({}, "is missing; the settings are widths, depths"),
        (changed({"guidance": "light"}), "must be an object"),
        (changed({"units": 0}), "network.units must be a whole number from 1 to 8; got 0"),
        (changed({"units": True}), "units must be"),
        (changed({"units": 2.0}), "units must be"),
        (changed({"connection": "two_way"}), 'one of "one_way", "three_way"; got \'two_way\''),
        (changed({"merge": "none"}), "network.merge must be"),
        (changed({"separate_gates": 1}), "separate_gates must be"),
        (changed({"directions": []}), "directions must be a list of distinct names"),
        (changed({"directions": ["up", "up"]}), "directions must be"),
        (changed({"directions": "up"}), "directions must be"),
        (changed({"hints": ["labels"]}), "hints must be"),
        (changed({"hints": [["confidence"]]}), "hints must be"),
        (changed({"hidden": 32}), "network.hidden is not known"),
        (changed({"backend": "cuda"}), "network.backend is not known"),
        (changed({"_target_": "os.system"}), "network._target_ is not known"),
        (changed({"normalization": "tanh"}), "stable for connection='one_way' only"),
        (changed({"name": "os.system"}, True), "guidance.name must be one of light, unet"),
        (changed({"name": None}, True), "guidance.name must be"),
        (changed({"name": ["light"]}, True), "guidance.name must be"),
        (changed({"width": 1 << 30}, True), "guidance.width must be a whole number from 8 to 256"),
        (changed({"width": 9}, True), "multiple of 8"),
        (changed({"stride": 3}, True), "guidance.stride must be one of 1, 2, 4; got 3"),
        (changed({"weights": "http://somewhere"}, True), "guidance.weights is not known"),
        ({key: value for key, value in SETTINGS.items() if key != "merge"}, "network.merge is missing"),
    ],
)
def test_settings_outside_of_the_list_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        build(settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widths": "wide"}, "network.widths must be a list of 3 to 8 whole numbers from 1 to 1024; got 'wide'"),
        ({"widths": [8, 8]}, "network.widths must be"),
        ({"widths": [8] * 9}, "network.widths must be"),
        ({"widths": [8, 8, 1 << 20]}, "network.widths must be"),
        ({"widths": [8, 8, 8.0]}, "network.widths must be"),
        ({"depths": [0, 1, True]}, "network.depths must be"),
        ({"depths": [0, 1, 33]}, "network.depths must be"),
        ({"depths": [0, 1, 2, 1]}, "network.widths and network.depths must be of one length"),
        ({"units": 9}, "network.units must be a whole number from 1 to 8; got 9"),
        ({"separate_gates": 1}, "network.separate_gates must be"),
        ({"fine_offsets": []}, "network.fine_offsets must be a list of 1 to 8 whole numbers from 1 to 64"),
        ({"offsets": [0]}, "network.offsets must be"),
        ({"offsets": [65]}, "network.offsets must be"),
        ({"windows": [1]}, "network.windows must be a list of 1 to 8 whole numbers from 2 to 256"),
        ({"windows": [257]}, "network.windows must be"),
        ({"hidden": 32}, "network.hidden is not known"),
        ({"_target_": "os.system"}, "network._target_ is not known"),
    ],
)
def test_settings_of_a_trusting_network_are_refused_too(change, message):
    with pytest.raises(InputError, match=message):
        build({**TRUSTING, **change})


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (3, "network.first must be an object; got 3"),
        ({**TRUSTING, "units": 0}, "network.first.units must be a whole number"),
        ({**TRUSTING, "depths": [1]}, "network.first.depths"),
        ({**TRUSTING, "first": TRUSTING}, "network.first.first is not known"),
    ],
)
def test_settings_of_a_first_network_are_refused_too(first, message):
    with pytest.raises(InputError, match=message):
        build({**TRUSTING, "first": first})


@pytest.mark.parametrize("name", TRUSTING)
def test_no_setting_of_a_trusting_network_is_left_out(name):
    with pytest.raises(InputError, match=f"network.{name} is missing"):
        build({other: value for other, value in TRUSTING.items() if other != name})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(SETTINGS)), json_values)
def test_any_setting_is_built_or_refused(name, value):
    try:
        network = build({**SETTINGS, name: value})
    except InputError:
        return
    assert describe(network)[name] == value


@given(st.sampled_from(sorted(TRUSTING)), json_values | st.lists(st.integers(-1, 9), min_size=3, max_size=4))
def test_any_setting_of_a_trusting_network_is_built_or_refused(name, value):
    try:
        network = build({**TRUSTING, name: value})
    except InputError:
        return
    assert describe(network)[name] == value


@pytest.fixture
def written(tmp_path):
    """A way to write a file with a part of it changed."""
    path = tmp_path / "mine.safetensors"
    whole = tmp_path / "whole.safetensors"  # its tensors may be read from the file for as long as they live
    save_refiner(trained(), whole)
    tensors = load_file(whole)

    def write(header=None, **changes):
        full = {"format": 1, "network": SETTINGS, "description": ""} if header is None else header
        metadata = {"spatialprop": full if isinstance(full, str) else json.dumps(full)}
        kept = {name: tensor for name, tensor in {**tensors, **changes}.items() if tensor is not None}
        save_file(kept, path, metadata=metadata)
        return path

    return write


def test_wrong_headers_are_named(written):
    for header, message in [
        ("{", "are not JSON"),
        ("[" * 100_000, "are not JSON"),
        ("9" * 5000, "are not JSON"),
        ("3", "must be an object with a whole number `format`"),
        ({"format": "1"}, "must be an object with a whole number `format`"),
        ({"format": 3, "network": SETTINGS}, "of format 3, this version reads 1 to 2; update"),
        ({"format": 1}, "lacks `network`"),
        ({"format": 1, "network": changed({"hints": ["confidence"]})}, r"guidance.stem.0.weight is F32 .*needs \(8, 4"),
        ({"format": 1, "network": changed({"stages": 4}, True)}, "guidance.down.2.0.0.0.weight is missing"),
    ]:
        with pytest.raises(InputError, match=message):
            Refiner.load(written(header))


def test_wrong_tensors_are_named(written):
    bias = torch.zeros(12)
    for changes, message in [
        ({"guidance.head.bias": None}, "guidance.head.bias is missing"),
        ({"other": bias}, "'other' is not part of the network"),
        ({"guidance.head.bias": bias[:11]}, r"guidance.head.bias is F32 \(11,\).*needs \(12,\)"),
        ({"guidance.head.bias": bias.bool()}, "guidance.head.bias is BOOL"),
        ({"guidance.head.bias": bias + torch.nan}, "guidance.head.bias holds values that are not finite"),
        ({"guidance.stem.1.running_var": torch.full((8,), -1.0)}, "negative variances"),
    ]:
        with pytest.raises(InputError, match=message):
            Refiner.load(written(**changes))
    assert Refiner.load(written(**{"guidance.head.bias": bias.bfloat16()}))


def test_files_that_are_none(tmp_path, written):
    path = written()
    whole = path.read_bytes()
    broken = tmp_path / "broken.safetensors"
    for content in (b"", b"x", whole[:-1], whole[:100], whole + b"x", struct.pack("<Q", 1 << 62) + whole[8:]):
        broken.write_bytes(content)
        with pytest.raises(InputError, match=r"broken.safetensors is not a refiner's weights"):
            Refiner.load(broken)
    save_file({"a": torch.zeros(1)}, broken)
    with pytest.raises(InputError, match="lack the key 'spatialprop'"):
        Refiner.load(broken)
    with pytest.raises(FileNotFoundError, match="no weights at"):
        Refiner.load(tmp_path / "missing.safetensors")
    with pytest.raises(InputError, match="no weights are called 'heavy'"):
        Refiner.load("heavy")
    with pytest.raises(InputError, match="no weights are called"):
        find("../light")


def test_large_files_are_not_opened(written, monkeypatch):
    monkeypatch.setattr("spatialprop.stored.LARGEST_FILE", 1000)
    with pytest.raises(InputError, match="MiB; at most"):
        Refiner.load(written())


@given(st.integers(0, 3000), st.integers(0, 255))
def test_a_changed_byte_is_harmless(tmp_path_factory, place, value):
    folder = tmp_path_factory.getbasetemp() / "bytes"
    folder.mkdir(exist_ok=True)
    path = folder / "mine.safetensors"
    save_refiner(trained(), path)
    content = bytearray(path.read_bytes())
    content[place % len(content)] = value
    path.write_bytes(content)
    with errors_that_name(path):
        Refiner.load(path)


BLOCKED = [
    *("pytorch_lightning", "lightning", "hydra", "omegaconf", "wandb", "cv2", "albumentations", "matplotlib"),
    *("tqdm", "torchmetrics", "pydensecrf", "onnx", "onnxscript", "cupy"),
]


@pytest.mark.slow
def test_the_refiner_needs_the_base_install_only(written, tmp_path):
    code = f"""
import sys
for name in {BLOCKED!r}:
    sys.modules[name] = None
import spatialprop
from spatialprop.cli import main
from PIL import Image
Image.new("RGB", (20, 16), "red").save("photo.png")
Image.new("L", (20, 16)).save("mask.png")
weights = ["--weights", {str(written())!r}]
assert main(["refine", "photo.png", "mask.png", *weights, "--overlay", "--sheet", "-o", "out.png"]) == 0
assert main(["explain", "photo.png", "mask.png", "--pixel", "3,4", *weights]) == 0
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.png").is_file()
