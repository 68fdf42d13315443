"""The benchmark of training works."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "training.py"


@pytest.mark.slow
def test_quick_run(tmp_path):
    subprocess.run([sys.executable, str(SCRIPT), "--quick", "--output", str(tmp_path)], check=True, capture_output=True)
    results = json.loads((tmp_path / "training.json").read_text())
    measured = [(row["kind"], row["workers"]) for row in results["rates"]]
    assert sorted(measured, key=str) == sorted(
        [("network", None), *((kind, workers) for kind in ("loader", "together") for workers in (0, 1, 2))], key=str
    )
    assert all(0 < row["patches_per_s"]["low"] <= row["patches_per_s"]["median"] for row in results["rates"])
    shares = {row["part"]: row["share"] for row in results["profile"]}
    assert sum(shares.values()) == pytest.approx(1)
    assert all(shares[part] > 0 for part in ("propagation", "convolutions", "batch normalisation", "optimizer"))
    assert "| together" in (tmp_path / "training.md").read_text()
