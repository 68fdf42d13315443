"""Archives of the refiner compute what it computes, at sizes that they were not traced with."""

import importlib.util
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch

from spatialprop import Refiner
from spatialprop.nn.guidance import LightGuidance
from spatialprop.refiner.export import ExportedRefiner
from tests.refiner.networks import photograph, probabilities, trained, trusting, twice

SIZES = [(96, 128, 4, (12, 16)), (20, 30, 2, (3, 4)), (133, 97, 6, (17, 13)), (64, 64, 3, (64, 64))]
WITH_ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))


@pytest.fixture(scope="module")
def refiner():
    return Refiner(trained(hints=("confidence",)))


def cases(refiner):
    for height, width, classes, cells in SIZES:
        image, coarse = photograph(height, width), probabilities(classes, *cells)
        coarse[1] = coarse.min(axis=0) / 2  # a class that is nowhere the most likely
        coarse /= coarse.sum(axis=0)
        pixels = (image.transpose(2, 0, 1)[None] / 255).astype(np.float32)
        yield pixels, coarse[None], refiner.probabilities(image, coarse)


def test_archive_of_torch_export(refiner, tmp_path):
    refiner.export(tmp_path / "new" / "refiner.pt2")
    program = torch.export.load(tmp_path / "new" / "refiner.pt2").module()
    for image, coarse, expected in cases(refiner):
        found = program(torch.from_numpy(image), torch.from_numpy(coarse))[0]
        np.testing.assert_allclose(found.numpy(), expected, atol=2e-5)


@pytest.mark.slow
def test_archive_of_torch_export_needs_the_operator_only(refiner, tmp_path):
    refiner.export(tmp_path / "refiner.pt2")
    code = f"""
import sys
for name in ("spatialprop.nn", "spatialprop.refiner", "safetensors", "PIL"):
    sys.modules[name] = None
import torch
import spatialprop.ops
program = torch.export.load({str(tmp_path / "refiner.pt2")!r}).module()
print(tuple(program(torch.rand(1, 3, 40, 50), torch.rand(1, 3, 5, 6).softmax(1)).shape))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(1, 3, 40, 50)", done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not WITH_ONNX, reason="needs onnx, onnxscript and onnxruntime")
def test_archive_of_onnx(refiner, tmp_path):
    import onnx
    import onnxruntime

    path = tmp_path / "refiner.onnx"
    refiner.export(path)
    session = onnxruntime.InferenceSession(path)
    for image, coarse, expected in cases(refiner):
        (found,) = session.run(["probabilities"], {"image": image, "coarse": coarse})
        np.testing.assert_allclose(found[0], expected, atol=2e-5)
    assert {node.domain for node in onnx.load(path).graph.node} == {""}  # nothing but ONNX's own operators


@pytest.mark.slow
@pytest.mark.skipif(not WITH_ONNX, reason="needs onnx, onnxscript and onnxruntime")
def test_archive_of_onnx_with_other_settings(tmp_path):
    import onnxruntime

    guidance = partial(LightGuidance, width=8, stages=3, stride=1)
    refiner = Refiner(
        trained(guidance, connection="one_way", merge="mean", separate_gates=True, directions=["left", "up"])
    )
    refiner.export(tmp_path / "refiner.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "refiner.onnx")
    for image, coarse, expected in cases(refiner):
        (found,) = session.run(["probabilities"], {"image": image, "coarse": coarse})
        np.testing.assert_allclose(found[0], expected, atol=2e-5)


@pytest.mark.parametrize("standard", [False, True])
def test_what_is_archived_computes_the_same(standard):
    options = {"connection": "three_way", "merge": "max", "directions": ["left", "up", "down"], "hints": ("entropy",)}
    refiner = Refiner(trained(**options))
    module = ExportedRefiner(refiner.network, standard=standard).eval()
    for image, coarse, expected in cases(refiner):
        with torch.no_grad():
            found = module(torch.from_numpy(image), torch.from_numpy(coarse))[0]
        np.testing.assert_allclose(found.numpy(), expected, atol=2e-5)


@pytest.mark.parametrize("make", [trusting, twice])
@pytest.mark.parametrize("standard", [False, True])
def test_what_is_archived_of_a_trusting_network_computes_the_same(standard, make):
    refiner = Refiner(make())
    module = ExportedRefiner(refiner.network, standard=standard).eval()
    for image, coarse, expected in cases(refiner):
        with torch.no_grad():
            found = module(torch.from_numpy(image), torch.from_numpy(coarse))[0]
        check_but_for_padding(refiner, found.numpy(), expected)


def test_guidance_is_archived_for_those_who_explain():
    refiner = Refiner(trusting())
    module = ExportedRefiner(refiner.network, standard=True, guidance=True).eval()
    image, coarse = torch.rand(1, 3, 24, 32), torch.rand(1, 3, 24, 32).softmax(dim=1)
    with torch.no_grad():
        shares, found = module(image, coarse)
        expected = refiner.network.guide(refiner.network.raw(*refiner.network.hints(image, coarse)))
    assert shares.shape == (1, 3, 24, 32)
    planes = torch.cat([maps.flatten(1, -3) for maps in expected.tensors()], dim=1)
    assert planes.shape == (1, 2 * 12 + 1 + 20, 12, 16)
    torch.testing.assert_close(found, planes, atol=2e-5, rtol=0)


def check_but_for_padding(refiner, found, expected):
    """An archive pads pixels, the refiner cells: what whole cells fill agrees, and what lies at edges nearly does."""
    height, width = expected.shape[1:]
    if height % refiner.network.coarsest_cell == width % refiner.network.coarsest_cell == 0:
        np.testing.assert_allclose(found, expected, atol=2e-5)
    else:
        assert np.abs(found - expected).mean() < 5e-3
        least = 0.99 if refiner.network.first is None else 0.98  # a second network hears of changes in all the image
        assert (found.argmax(axis=0) == expected.argmax(axis=0)).mean() > least


@pytest.mark.slow
@pytest.mark.parametrize("make", [trusting, twice])
@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
def test_archives_of_a_trusting_network(suffix, make, tmp_path):
    if suffix == ".onnx" and not WITH_ONNX:
        pytest.skip("needs onnx, onnxscript and onnxruntime")
    refiner, path = Refiner(make()), tmp_path / f"refiner{suffix}"
    refiner.export(path, guidance=suffix == ".onnx")
    if suffix == ".pt2":
        program = torch.export.load(path).module()

        def run(image, coarse):
            return program(torch.from_numpy(image), torch.from_numpy(coarse))[0].numpy()
    else:
        import onnx
        import onnxruntime

        assert {node.domain for node in onnx.load(path).graph.node} == {""}
        session = onnxruntime.InferenceSession(path)

        def run(image, coarse):
            return session.run(["probabilities"], {"image": image, "coarse": coarse})[0][0]

    for image, coarse, expected in cases(refiner):
        check_but_for_padding(refiner, run(image, coarse), expected)


def test_other_formats_are_refused(refiner, tmp_path):
    with pytest.raises(ValueError, match=r"an archive is .pt2 or .onnx; got 'refiner.pth'"):
        refiner.export(tmp_path / "refiner.pth")
    assert not list(tmp_path.iterdir())


def test_missing_packages_are_named(refiner, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match="pip install onnx onnxscript"):
        refiner.export(tmp_path / "refiner.onnx")
    assert not list(tmp_path.iterdir())
