"""The ablation of dilated affinity as one command, its report, and what can be asked of its runs."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from torch.optim import AdamW

from spatialprop.cli import main as spatialprop
from spatialprop.data import LabelSet
from spatialprop.experiment.parts import make_task
from spatialprop.tasks.optimization import Optimization
from tests.data.tiny_folder import save_label, write_tiny_folder
from tests.experiment.tiny import REPOSITORY, TINY, composed, environment, run, tiny_but

LABELS = LabelSet("three", ("background", "cat", "dog"))

ROWS = ["dilated_affinity_base", "dilated_affinity_loss", "dilated_affinity", "dilated_affinity_scan"]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("dilations=3", r"dilations must be a sequence of integers; got 3. One dilation d is written \[d\]"),
        ("dilations=[1.5]", r"dilations must be integers; got \(1\.5,\)"),
        ("curve=5", r"task.curve must be a list of numbers of steps, such as \[1,2,5\]; got 5"),
        ("curve=[1.5]", r"integers from 1 up; got \[1\.5\]"),
        ("propagation=null", "propagation must be one of spread, scan; got None. .* task.propagation=none"),
        ("affinity_weight=null", "affinity_weight must be a number; got None"),
        ("affinity_weight=nan", "affinity_weight must be at least 0 and finite; got nan"),
        ("affinity_weight=much", "affinity_weight must be a number; got 'much'"),
        ("backend=gpu", "backend must be one of auto, naive, cpu, cuda; got 'gpu'"),
        ("width=16.0", r"width must be a multiple of 4; got 16\.0"),
        ("background=99", "task.background must be the index of a class"),
    ],
)
def test_wrong_values_are_refused_before_training(override, told):
    config = composed("train", "task=dilated_affinity", f"task.{override}")
    with pytest.raises((TypeError, ValueError), match=told):
        make_task(config, LABELS, {}, Optimization(AdamW))


def test_the_backend_is_a_setting():
    config = composed("train", "task=dilated_affinity", "task.backend=naive")
    assert make_task(config, LABELS, {}, Optimization(AdamW)).network.propagation.backend == "naive"


@pytest.mark.slow
def test_a_run_whose_test_images_are_void_ends_and_says_so(tmp_path):
    root = write_tiny_folder(tmp_path / "data", splits=("train", "val", "test"), images=2, coarse=False)
    for path in (root / "test" / "labels").iterdir():
        save_label(path, np.full((40, 56), 255, np.uint8), palette=False)
    options = [option for option in TINY if not option.startswith(("data.", "segmenter.fit", "guidance"))]
    done = run("train.py", "task=dilated_affinity", "data=folder", f"data.root={root}", *options, folder=tmp_path)
    assert "Nothing in the test images counts for mIoU" in done.stdout + done.stderr
    text = Path(tmp_path, done.stdout.strip().splitlines()[-1], "metrics.json").read_text()
    assert "NaN" not in text
    metrics = json.loads(text)
    assert metrics["coarse"]["mIoU"] is metrics["refined"]["steps"]["0"]["mIoU"] is None
    assert metrics["coarse"]["cost"]["milliseconds"]["segmenter"] > 0


@pytest.fixture(scope="module")
def ablation(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ablation")
    options = [option for option in tiny_but() if not option.startswith(("segmenter.fit", "guidance"))]
    run("train.py", "--multirun", "sweep=dilated_affinity", "seed=1", *options, folder=folder)
    (multirun,) = (folder / "multirun").iterdir()
    return multirun


@pytest.mark.slow
def test_every_row_has_its_methods(ablation):
    metrics = [json.loads((ablation / str(job) / "metrics.json").read_text()) for job in range(4)]
    for found in metrics:
        del found["run"]
    assert [list(found) for found in metrics] == [
        ["coarse", "oracle_8px"], *[["coarse", "refined", "oracle_8px"]] * 3,
    ]  # fmt: skip
    assert [list(found["coarse"]["cost"]["parameters"]) for found in metrics] == [
        ["segmenter"], *[["segmenter", "head", "propagation"]] * 3,
    ]  # fmt: skip
    assert list(metrics[2]["refined"]["steps"]) == ["0", "1", "2", "5", "10", "20", "40"]
    assert list(metrics[3]["refined"]["steps"]) == ["0", "1", "2", "3", "4"]


@pytest.mark.slow
def test_the_report_tells_rows_apart(ablation, capsys):
    assert spatialprop(["report", str(ablation)]) == 0
    printed = capsys.readouterr().out
    assert all(f"| {row} " in printed for row in ROWS)
    assert "Against the segmenter alone" in printed
    assert list((ablation / "2" / "failures").glob("*.npz"))


@pytest.mark.slow
def test_a_run_is_evaluated_from_its_folder(ablation):
    row = ablation / "2"
    run("evaluate.py", f"run={row}", "workers=0", "callbacks.progress_bar=false", folder=ablation)
    (again,) = row.glob("evaluations/*/metrics.json")
    before, after = (json.loads(path.read_text()) for path in (row / "metrics.json", again))
    for metrics in (before, after):
        del metrics["run"]
        metrics["refined"].pop("milliseconds")
        metrics["coarse"]["cost"].pop("milliseconds")
    assert after == before


@pytest.mark.slow
def test_limits_are_measured_on_a_run(ablation):
    script = str(REPOSITORY / "benchmarks" / "dilated_affinity_limits.py")
    command = [sys.executable, script, str(ablation / "2"), "--images", "1"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    measured = json.loads((ablation / "2" / "limits" / "limits.json").read_text())
    recalls = [found["affinity"]["recall"] for found in measured["shifts"].values()]
    assert recalls == sorted(recalls, reverse=True)  # the more willing to tie, the fewer borders are seen
    assert {path.suffix for path in (ablation / "2" / "limits").iterdir()} == {".json", ".md", ".png"}
