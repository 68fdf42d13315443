"""The notebook runs from its first cell to its last, and is committed with what it printed and drew."""

import os

import nbformat
import pytest

from tests.experiment.tiny import REPOSITORY

PATH = REPOSITORY / "notebooks" / "tour.ipynb"


def cells():
    return [cell for cell in nbformat.read(PATH, as_version=4).cells if cell.cell_type == "code"]


def test_outputs_are_committed():
    assert [cell.execution_count for cell in cells()] == list(range(1, len(cells()) + 1))
    drawn = [output for cell in cells() for output in cell.outputs if "image/png" in output.get("data", {})]
    assert len(drawn) == 3
    assert PATH.stat().st_size < 1_000_000


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Jupyter's own
def test_it_runs(monkeypatch):
    from nbclient import NotebookClient

    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")
    before = ["".join(output.get("text", "") for output in cell.outputs) for cell in cells()]
    notebook = nbformat.read(PATH, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(PATH.parent)}}).execute()
    after = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(output.output_type == "error" for cell in after for output in cell.outputs)
    # What it says of the mask does not depend on the machine.
    assert "".join(output.get("text", "") for output in after[1].outputs) == before[1]
