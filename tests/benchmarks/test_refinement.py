"""The tables of the refiner, on a tiny folder."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from spatialprop.refiner import save_refiner
from tests.data.tiny_folder import write_tiny_folder
from tests.refiner.networks import trained

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    pytest.importorskip("pydensecrf")
    monkeypatch.syspath_prepend(BENCHMARKS)
    tuning = importlib.import_module("tune_densecrf")
    monkeypatch.setattr(tuning, "GRID", [tuning.IDENTITY, {"colour_weight": 2, "colour_deviation": 3}])
    return importlib.import_module("refinement")


@pytest.fixture
def weights(tmp_path):
    save_refiner(trained(std=0.05), tmp_path / "mine.safetensors")
    return tmp_path / "mine.safetensors"


def test_table(benchmark, weights, tmp_path, monkeypatch, capsys):
    root = write_tiny_folder(tmp_path / "discs")
    asked = []

    def alone(script, request, limit):
        asked.append(json.loads(json.dumps(request)))
        return {"peak_bytes": 3 << 20}, ""

    monkeypatch.setattr(benchmark, "alone", alone)
    words = [str(root), "--weights", str(weights), "--tune-images", "2", "--output", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["refinement.py", *words])
    benchmark.main()
    sets = json.loads((tmp_path / "out" / "refinement.json").read_text())["sets"]
    assert [found["input"] for found in sets] == ["probabilities", "labels"]
    for found in sets:
        assert found["images"] == 4
        assert list(found["results"]) == [
            "coarse",
            "guided filter",
            "DenseCRF, usual",
            "DenseCRF, tuned",
            "refiner, mine",
        ]
        best = max(found["tried"], key=lambda trial: trial["mIoU"])
        assert found["tuned"] == best["settings"]
        for scores in found["results"].values():
            assert 0 < scores["boundary_IoU"] <= scores["mIoU"] <= 1
            assert scores["milliseconds"] > 0
    table = (tmp_path / "out" / "refinement.md").read_text()
    assert capsys.readouterr().out.endswith(table)
    for found in sets:
        results = found["results"]
        assert f"| coarse | {100 * results['coarse']['mIoU']:.2f} |" in table
        gain = [100 * (results["refiner, mine"][name] - results["coarse"][name]) for name in ("mIoU", "boundary_IoU")]
        assert f"{gain[0]:+.2f} / {gain[1]:+.2f} |\n| **mean, {found['input']}**" in table
    assert "refiner, mine" in table
    assert str(tmp_path) not in table

    for request in (asked[0], asked[-1]):
        benchmark.memory_of(request)
        assert "peak_bytes" in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("kind", ["probabilities", "labels"])
def test_identity_is_the_coarse_map(benchmark, kind, tmp_path):
    data = benchmark.ImageFolder(write_tiny_folder(tmp_path / "discs"), ["val"])
    coarse = benchmark.score(data, benchmark.method("coarse", "", {}, len(data.labels.classes)), [0, 1], kind)
    identity = {"colour_weight": 0, "smooth_weight": 0}
    tuned = benchmark.score(
        data, benchmark.method("DenseCRF, tuned", "", identity, len(data.labels.classes)), [0, 1], kind
    )
    assert coarse["per_class_IoU"] == tuned["per_class_IoU"]


def test_settings_found_before(benchmark, tmp_path):
    path = tmp_path / "densecrf_tuning.json"
    entry = {
        "name": "discs",
        "input": "labels",
        "images": 2,
        "settings": {"colour_weight": 3},
        "trials": [{"mIoU": 0.5}],
    }
    path.write_text(json.dumps({"sets": [entry]}))
    assert benchmark.found_before(path, "discs", "labels") == ({"colour_weight": 3}, [{"mIoU": 0.5}])
    for asked, words in (("discs", "probabilities"), ("rings", "labels")):
        message = rf"is about discs given labels; got {asked} given {words}: run tune_densecrf.py on it"
        with pytest.raises(SystemExit, match=message):
            benchmark.found_before(path, asked, words)


def test_a_set_without_coarse_maps_is_named(benchmark, weights, tmp_path, monkeypatch):
    root = write_tiny_folder(tmp_path / "discs", coarse=False)
    monkeypatch.setattr(sys, "argv", ["refinement.py", str(root), "--weights", str(weights)])
    with pytest.raises(SystemExit, match="lacks coarse maps for 4 images"):
        benchmark.main()


@pytest.mark.slow
def test_speed_and_memory(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "refiner.py"), "--quick", "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "refiner.json").read_text())
    assert results["times"]["end to end"]["median_ms"] > 0
    assert [entry["side"] for entry in results["large"]] == [128, 192, 192]
    assert done.stdout.strip() == (tmp_path / "refiner.md").read_text().strip()
