"""A multirun over several data sets: what no setting changes is there once, and averages are taken over the sets."""

import json

import pytest

from spatialprop.cli import main as spatialprop
from spatialprop.report import summarise
from spatialprop.report.sweep.average import average_table, averages
from spatialprop.report.sweep.figures import draw_sets
from spatialprop.report.sweep.results import BOUNDARY_GAIN, GAIN
from tests.report.folders import scores, write_job
from tests.report.reader import read

COARSE = {"cam/vid": 0.70, "faces": 0.60}
CRF_GAIN = {"cam/vid": 0.01, "faces": -0.02}
GAINS = {"one_way": (0.01, 0.02, 0.03), "three_way": (0.04, 0.04, 0.07)}
CHANGES = {"changed": 0.1, "right": 0.7, "wrong": 0.2, "neutral": 0.1}


def metrics_of(data, gain, milliseconds=20.0):
    before = COARSE[data]
    return {
        "coarse": scores(before),
        "refined": scores(before + gain, changes=CHANGES, milliseconds=milliseconds),
        "densecrf": scores(before + CRF_GAIN[data], changes=CHANGES, milliseconds=400 + milliseconds),
        "oracle_8px": scores(before + 0.2),
    }


@pytest.fixture
def sweep(tmp_path):
    folder = tmp_path / "multirun" / "time"
    number = 0
    for data in COARSE:
        for connection, gains in GAINS.items():
            for seed, gain in enumerate(gains, start=1):
                twice = gain * (2 if data == "faces" else 1)
                overrides = [f"experiment=real_{data}", f"propagation={connection}", f"seed={seed}", "data.root=DIR"]
                write_job(folder, number, overrides, metrics_of(data, twice, milliseconds=20.0 + number), data)
                number += 1
    return folder


def rows_of(table):
    return [dict(zip(table.heading, row, strict=True)) for row in table.rows]


def test_the_set_stands_for_the_overrides_that_only_name_it(sweep):
    summary = summarise(sweep)
    assert summary.columns == ["propagation"]
    assert summary.sets == ["cam/vid", "faces"]
    assert summary.place_heading == ["set", "propagation"]


def test_what_no_setting_changes_stands_there_once_a_set(sweep):
    rows = rows_of(summarise(sweep).table())
    assert [(row["set"], row["propagation"], row["method"], row["n"]) for row in rows] == [
        (data, *place)
        for data in COARSE
        for place in [
            ("-", "coarse", "1"), ("-", "densecrf", "1"), ("-", "oracle_8px", "1"),
            ("one_way", "refined", "3"), ("three_way", "refined", "3"),
        ]
    ]  # fmt: skip
    densecrf, three_way = rows[1], rows[4]
    assert (densecrf["mIoU"], densecrf["mIoU over coarse"]) == ("71.0", "+1.0")
    assert (three_way["mIoU"], three_way["mIoU over coarse"]) == ("75.0 ± 1.7", "+5.0 ± 1.7")
    assert (three_way["changed"], three_way["rightly"]) == ("10.0 ± 0.0", "70.0 ± 0.0")
    assert three_way["ms"] == "24.0 ± 1.0"
    assert densecrf["ms"].startswith("422.5 ± ")  # timed in every job


def test_averages_over_the_sets_seed_by_seed(sweep):
    summary = summarise(sweep)
    found = {(one.method, one.overrides.get("propagation")): one for one in averages(summary)}
    assert set(found) == {("densecrf", None), ("oracle_8px", None), ("refined", "one_way"), ("refined", "three_way")}
    three_way = found["refined", "three_way"].gain(GAIN)
    assert three_way.values == pytest.approx([0.06, 0.06, 0.105])
    assert found["refined", "three_way"].gain(BOUNDARY_GAIN).mean == pytest.approx(0.075)
    assert found["densecrf", None].gain(GAIN).values == pytest.approx([-0.005])
    least, where = found["densecrf", None].least(GAIN)
    assert (least, where) == (pytest.approx(-0.02), "faces")
    rows = rows_of(average_table(summary))
    assert rows[0]["mIoU over coarse"] == "-0.50"
    assert rows[3]["mIoU over coarse"] == "+7.50 ± 2.60"
    assert average_table(summary).rows[0][-1] == "-2.00 faces"


def test_a_sweep_that_has_not_finished_shows_its_baselines_once_too(sweep):
    for job in (9, 10, 11):  # three-way on faces
        (sweep / str(job) / "metrics.json").unlink()
    rows = rows_of(summarise(sweep).table())
    faces = [(row["propagation"], row["method"]) for row in rows if row["set"] == "faces"]
    assert faces == [("-", "coarse"), ("-", "densecrf"), ("-", "oracle_8px"), ("one_way", "refined")]
    assert [row["sets"] for row in rows_of(average_table(summarise(sweep)))] == ["2", "2", "2", "1"]


def test_a_method_that_one_setting_changes_on_one_set_stays_apart(sweep):
    path = sweep / "9" / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["densecrf"]["mIoU"] += 0.001
    path.write_text(json.dumps(metrics))
    rows = rows_of(summarise(sweep).table())
    assert sum(row["method"] == "densecrf" for row in rows) == 4
    assert sum(row["method"] == "coarse" for row in rows) == 2


def test_settings_without_a_common_seed_are_not_compared(tmp_path):
    for number, (connection, seed) in enumerate([("one_way", 1), ("three_way", 2)]):
        write_job(tmp_path, number, [f"propagation={connection}", f"seed={seed}"], metrics_of("faces", 0.1), "faces")
    assert {row["propagation"] for row in rows_of(summarise(tmp_path).table())} == {"one_way", "three_way"}


def test_a_single_set_has_no_column_and_no_average(tmp_path):
    for number, connection in enumerate(GAINS):
        write_job(tmp_path, number, [f"propagation={connection}", "seed=1"], metrics_of("faces", 0.1 + number), "faces")
    summary = summarise(tmp_path)
    assert summary.place_heading == ["propagation"]
    assert averages(summary) == []


def test_figures_of_each_set_without_the_oracle(sweep):
    drawn = {name: figure for name, _, figure in draw_sets(summarise(sweep))}
    assert set(drawn) == {"scores_cam_vid", "trimap_cam_vid", "scores_faces", "trimap_faces"}
    names = [label.get_text() for label in drawn["scores_faces"].axes[0].get_yticklabels()]
    assert names == ["coarse", "densecrf", "propagation=one_way", "propagation=three_way"]
    curves, gains = drawn["trimap_faces"].axes
    assert len(curves.get_lines()) == 4
    assert list(gains.get_lines()[0].get_ydata()) == pytest.approx([-0.02] * 3)
    assert list(gains.get_lines()[2].get_ydata()) == pytest.approx([0.1] * 3)


def test_everything_is_printed_and_written(sweep, capsys):
    assert spatialprop(["report", str(sweep)]) == 0
    shown = capsys.readouterr().out
    for table in (summarise(sweep).table(), average_table(summarise(sweep))):
        assert table.text() in shown
        assert table.text() in (sweep / "report.md").read_text(encoding="utf-8")
    written = json.loads((sweep / "report.json").read_text())
    assert [one["set"] for one in written["settings"]] == ["cam/vid"] * 2 + ["faces"] * 2
    assert written["averages"][3]["mIoU_over_coarse"]["mean"] == pytest.approx(0.075)
    page = read(sweep / "report.html")
    assert len(page.pictures) == 4
    assert "Average over the sets" in page.text


def test_a_broken_data_json_is_a_job_without_a_result(sweep):
    (sweep / "0" / "data.json").write_text("{")
    ((job, _, reason),) = summarise(sweep).failed
    assert job == "0"
    assert "data.json is not JSON" in reason
