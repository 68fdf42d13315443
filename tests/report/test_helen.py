"""The tables of HELEN, on their own, in a run's page and on the console."""

import json

import pytest

from spatialprop.cli import main as spatialprop
from spatialprop.metrics.helen import COLUMNS
from spatialprop.report import helen_tables, write_report
from tests.report.folders import write_run
from tests.report.reader import read


def faces(value):
    return {"F": dict.fromkeys(COLUMNS, value), "IoU": {**dict.fromkeys(COLUMNS, value / 2), "eyes": None}}


METRICS = {"coarse": {"helen": faces(0.8289)}, "refined": {"helen": faces(0.8930)}, "densecrf": {"mIoU": 0.5}}


def test_columns_are_the_papers_in_its_order():
    f_measure, iou = helen_tables(METRICS).values()
    assert list(f_measure.heading) == [
        "method", "skin", "brows", "eyes", "nose", "mouth", "U-lip", "L-lip", "in-mouth", "overall"
    ]  # fmt: skip
    assert f_measure.rows == [["coarse", *["82.89"] * 9], ["refined", *["89.30"] * 9]]
    assert iou.rows[1] == ["refined", "44.65", "44.65", "-", *["44.65"] * 6]


@pytest.mark.parametrize("metrics", [{}, {"coarse": {}}, {"coarse": {"mIoU": 0.5, "helen": None}}])
def test_no_faces_no_table(metrics):
    assert helen_tables(metrics) == {}


def test_page_and_console_show_them(tmp_path, capsys):
    folder = write_run(tmp_path / "run")
    assert "HELEN" not in read(write_report(folder)).text
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["refined"]["helen"] = faces(0.8930)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    assert spatialprop(["report", str(folder)]) == 0
    assert "HELEN, F-measure\n| method " in capsys.readouterr().out
    shown = read(folder / "report.html").text
    assert "HELEN, F-measure" in shown
    assert "HELEN, IoU" in shown
    assert "89.30" in shown
