"""The benchmark of inference times what it says, and nothing else."""

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch

from spatialprop.data import LabelSet
from spatialprop.nn.guidance import LightGuidance
from spatialprop.tasks import Joint, Parts, Refine

LABELS = LabelSet("two", ("a", "b"))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def inference():
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        yield importlib.import_module("inference")
    finally:
        sys.path.remove(folder)


@torch.no_grad()
def test_the_parts_make_up_the_whole(inference):
    for case in inference.paper_cases():
        torch.manual_seed(0)
        parts = inference.parts_of(case, 64, CPU)
        torch.testing.assert_close(parts["propagation"](), parts["whole"]())
        assert parts["whole"]().shape == (1, case.classes, 64, 64)
        assert parts["guidance"]()[0].shape[-2:] == (32, 32)


def test_the_layer_is_the_papers(inference):
    (layer,) = inference.hidden_layer(CPU).values()
    assert layer().shape == (1, 32, 64, 64)


def test_densecrf_gets_an_image_with_all_classes(inference):
    pytest.importorskip("pydensecrf")
    ((name, step),) = inference.dense_crf(128).items()
    assert name == "densecrf, 6 classes"
    image, shares = step.args
    assert image.shape == (128, 128, 3)
    assert shares.shape == (6, 128, 128)
    assert shares.sum(axis=0) == pytest.approx(1, abs=1e-5)
    assert step().shape == (128, 128)


def test_each_part_is_run_in_turn_and_timed(inference):
    calls = {"a": 0, "b": 0}

    def step(name):
        def run():
            calls[name] += 1

        return run

    times = inference.times_of({name: step(name) for name in calls}, CPU, 0.001)
    assert times.keys() == calls.keys()
    for name, count in calls.items():
        assert count >= times[name]["runs"] >= 3
        assert 0 <= times[name]["low_ms"] <= times[name]["median_ms"] <= times[name]["high_ms"]


def test_a_quick_run_writes_a_row_for_each_network(inference, tmp_path, capsys):
    inference.main(["--quick", "--output", str(tmp_path)])
    results = json.loads((tmp_path / "inference_cpu.json").read_text())
    text = (tmp_path / "inference_cpu.md").read_text()
    assert text == capsys.readouterr().out
    for case in inference.paper_cases():
        assert results["networks"][case.name].keys() == set(inference.PARTS)
        assert f"| {case.name} |" in text
    assert "| hidden layer |" in text


@pytest.fixture
def run_holds(monkeypatch):
    def hold(task):
        monkeypatch.setattr("spatialprop.experiment.trained.load_run", lambda folder: task)

    return hold


def test_the_network_of_a_run(inference, run_holds, capsys):
    run_holds(Refine(Parts(LABELS, guidance=LightGuidance)))
    inference.main(["--quick", "--run", "some/run"])
    out = capsys.readouterr().out
    assert "| some/run |" in out
    assert "HELEN: U-Net" not in out


def test_a_run_without_such_parts(inference, run_holds):
    run_holds(Joint(Parts(LABELS, segmenter=lambda: torch.nn.Conv2d(3, 2, 8, stride=8), guidance=LightGuidance)))
    with pytest.raises(SystemExit, match="holds a Joint; guidance and propagation are parts of a task=refine"):
        inference.main(["--quick", "--run", "some/run"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there(inference):
    with pytest.raises(SystemExit, match="needs a GPU"):
        inference.main(["--device", "cuda"])
