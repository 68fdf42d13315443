"""The notebook runs from its first cell to its last."""

import json
import os
from pathlib import Path

import matplotlib as mpl
import pytest

from tests.experiment.tiny import REPOSITORY, TINY


@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
def test_the_tour(tmp_path, monkeypatch):
    notebook = json.loads((REPOSITORY / "notebooks" / "tour.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    first = (
        cells[0].replace("OPTIONS = []", f"OPTIONS = {list(TINY)}").replace("../train.py", str(REPOSITORY / "train.py"))
    )
    assert first != cells[0]

    # In a folder of its own, one below where its outputs go.
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")
    mpl.use("Agg")
    names: dict = {}
    for cell in [first, *cells[1:]]:
        exec(compile(cell, "tour.ipynb", "exec"), names)
    assert set(names["refined"]) == {"one_way", "three_way"}
    assert names["figure"].axes
    assert Path("../outputs/tour/three_way/report.html").is_file()
