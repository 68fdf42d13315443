"""The benchmark of `spread` works, and refuses to measure an operator that is wrong."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "spread.py"


@pytest.mark.slow
def test_quick_run(tmp_path):
    subprocess.run([sys.executable, str(SCRIPT), "--quick", "--output", str(tmp_path)], check=True, capture_output=True)
    results = json.loads((tmp_path / "spread_cpu.json").read_text())
    table = [line for line in (tmp_path / "spread_cpu.md").read_text().splitlines() if line.startswith("| (1, ")]
    assert len(table) == 2 * len(results["cases"]) > 0
    for row in results["cases"]:
        batch, channels, height, width = row["shape"]
        size = {"float32": 4, "bfloat16": 2}[row["dtype"]]
        assert row["floor_bytes"] == 10 * batch * height * width * (2 * channels + 4 * 8) * size
        assert row["largest_error_over_allowed"] <= 1
        assert math.isfinite(row["forward"]["floor_ms"])
        for name in ("forward", "forward + backward"):
            for one in ("spatialprop", "naive"):
                assert 0 < row[name][one]["low_ms"] <= row[name][one]["median_ms"] <= row[name][one]["high_ms"]


WRONG = """
import runpy, sys
sys.path.insert(0, {folder!r})
from spatialprop.ops.spreading import cpu
right = cpu.forward
cpu.forward = lambda *inputs: right(*inputs) * 1.001
sys.argv = [{script!r}, "--quick"]
runpy.run_path({script!r}, run_name="__main__")
"""


@pytest.mark.slow
def test_a_wrong_operator_is_not_measured():
    code = WRONG.format(folder=str(SCRIPT.parent), script=str(SCRIPT))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "spread is wrong, so nothing was measured" in done.stderr
