"""A refinement is one module: a frozen segmenter, a guidance network and the propagation."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import spatialprop.ops  # noqa: F401 - programs call its operator
from spatialprop.cli import main
from spatialprop.experiment.evaluation import evaluate
from spatialprop.experiment.trained import load_run
from spatialprop.experiment.training import train
from tests.experiment.tiny import QUIET, composed, evaluation, scores, tiny_here

pytestmark = QUIET

# Each sample is a whole image as it is: only then does the segmenter see in a step what it saw beforehand.
WHOLE = ("patches=full", "augment.flip=0", "augment.colour=0", "loader.per_image=1")


def without_segmenter(folder):
    """Make of a run one of an earlier version, whose checkpoints held the refinement alone."""
    for path in (folder / "checkpoints").glob("*.ckpt"):
        checkpoint = torch.load(path, weights_only=True)
        held = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: held[name] for name in held if not name.startswith("segmenter.")}
        assert len(checkpoint["state_dict"]) < len(held)
        torch.save(checkpoint, path)


def assert_alike(one, other, atol):
    for method in one:
        for name in ("mIoU", "pixel_accuracy", "boundary_IoU"):
            assert one[method][name] == pytest.approx(other[method][name], abs=atol), (method, name)


def test_the_segmenter_is_in_the_checkpoint_whichever_way_its_maps_came(tmp_path):
    results = {}
    for cache in ("files", "memory", "none"):
        folder = tmp_path / cache
        results[cache] = train(composed("train", *tiny_here(*WHOLE), f"segmenter.cache={cache}"), folder)
        assert (folder / "coarse").exists() == (cache == "files")
        inside = load_run(folder).segmenter.state_dict()
        kept = load_file(folder / "checkpoints" / "segmenter.safetensors")
        state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        assert inside.keys() == kept.keys()
        for name, value in kept.items():
            assert torch.equal(value, inside[name])
            assert torch.equal(value, state[f"segmenter.{name}"])
    assert scores(results["memory"]) == scores(results["files"])
    assert_alike(results["none"], results["files"], atol=2e-3)
    assert "milliseconds" in results["none"]["coarse"]
    assert "milliseconds" not in results["files"]["coarse"]


@pytest.mark.parametrize("cache", ["memory", "none"])
def test_a_run_scores_the_same_whichever_way_its_maps_are_made(finished, cache, tmp_path):
    """It was trained on maps from files."""
    again = evaluate(composed("evaluate", *evaluation(f"run={finished}", f"cache={cache}")), tmp_path / "one")
    assert_alike(again, json.loads((finished / "metrics.json").read_text()), atol=2e-3)
    several = evaluate(
        composed("evaluate", *evaluation(f"run={{a:{finished},b:{finished}}}", f"cache={cache}")), tmp_path
    )
    assert several["coarse"]["a"]["mIoU"] == several["coarse"]["b"]["mIoU"] == again["refined"]["mIoU"]


def test_finer_maps_can_be_asked_for(tmp_path):
    config = composed("train", *tiny_here(), "segmenter.network.factor=2", "task.map_stride=2", "trainer.max_epochs=1")
    train(config, tmp_path)
    with np.load(next((tmp_path / "coarse" / "test").glob("*.npz"))) as kept:
        assert kept["probs"].shape[1:] == (32, 32)


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_checkpoints_that_hold_no_segmenter_go_on(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "run")
    without_segmenter(folder)
    before = json.loads((folder / "metrics.json").read_text())
    again = evaluate(composed("evaluate", *evaluation(f"run={folder}")), tmp_path / "evaluation")
    assert scores(again) == scores(before)
    resumed = train(composed("train", *tiny_here(), "ckpt_path=last", "trainer.max_epochs=3"), folder)
    assert resumed["refined"]["mIoU"] > 0
    held = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert held["epoch"] == 2
    assert any(name.startswith("segmenter.") for name in held["state_dict"])


def test_a_run_without_its_segmenter_still_refines(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "run")
    without_segmenter(folder)
    (folder / "checkpoints" / "segmenter.safetensors").unlink()
    task = load_run(folder)
    image, coarse = torch.rand(1, 3, 32, 32), torch.rand(1, 6, 32, 32).softmax(dim=1)
    assert task(image, coarse).shape == coarse.shape
    with pytest.raises(ValueError, match="holds no segmenter"):
        task(image)


def test_another_run_starts_from_the_segmenter_in_a_checkpoint(finished, tmp_path):
    path = finished / "checkpoints" / "best.ckpt"
    train(composed("train", *tiny_here(f"segmenter.checkpoint={path}"), "trainer.max_epochs=1"), tmp_path)
    before, after = (load_file(run / "checkpoints" / "segmenter.safetensors") for run in (finished, tmp_path))
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("segmenter.cache=disk", "segmenter.cache must be files, memory or none; got 'disk'"),
        ("loader.most_classes=2", "loader.most_classes changes coarse maps before a step begins"),
    ],
)
def test_what_cannot_be_is_refused(override, told, tmp_path):
    with pytest.raises(ValueError, match=told):
        train(composed("train", *tiny_here(), "segmenter.cache=none", override), tmp_path)


def test_export_gives_labels_of_an_image(finished, tmp_path, capsys):
    """At the size of the test images, the labels are those of the test."""
    path = tmp_path / "program.pt2"
    assert main(["export", str(finished), "--to", str(path)]) == 0
    assert "image: (1, 3, 64, 64)" in capsys.readouterr().out
    with np.load(next((finished / "examples").glob("*.npz"))) as example:
        image, refined = example["image"], example["refined"]
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    labels = torch.export.load(path).module()(pixels)
    assert (labels[0].numpy() == refined).mean() > 0.995  # the test's maps had 8 bits


@pytest.mark.slow
def test_export_as_onnx_of_any_size_and_task(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    for task in ("refine", "joint", "segment"):
        train(composed("train", *tiny_here(f"task={task}"), "trainer.max_epochs=1"), tmp_path / task)
        path = tmp_path / f"{task}.onnx"
        assert main(["export", str(tmp_path / task), "--to", str(path), "--size", "33x45"]) == 0
        image = torch.rand(1, 3, 33, 45)
        with torch.no_grad():
            expected = load_run(tmp_path / task).eval().scores(image).argmax(dim=1)
        (labels,) = onnxruntime.InferenceSession(path).run(None, {"image": image.numpy()})
        assert (labels == expected.numpy()).mean() > 0.995


def test_export_says_what_is_wrong(finished, capsys):
    assert main(["export", str(finished), "--size", "300"]) == 2
    assert "--size is height x width in pixels, such as 375x500; got '300'" in capsys.readouterr().err
    assert main(["export", "light"]) == 2
    assert "say where to" in capsys.readouterr().err
