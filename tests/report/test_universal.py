"""Tables of several segmenters and refinements."""

import json

import pytest

from spatialprop.cli import main as spatialprop
from spatialprop.report import read_universal, universal_tables, write_universal
from spatialprop.report.universal import TITLE
from tests.report.reader import read

NUMBERS = {"pixel_accuracy": 0.9122, "mean_accuracy": 0.7761, "mIoU": 0.6551}
RESULTS = {
    "fcn8s": {"coarse": NUMBERS, "one_way": {**NUMBERS, "mIoU": None}, "oracle_8px": NUMBERS},
    "<b>": {"coarse": NUMBERS, "three_way": NUMBERS},
}


def written(folder):
    for source, metrics in RESULTS.items():
        (folder / source).mkdir()
        (folder / source / "metrics.json").write_text(json.dumps(metrics))
    write_universal(folder, RESULTS)
    return folder


def test_rows_are_base_models_and_what_is_made_of_them():
    table = universal_tables(RESULTS)[TITLE]
    assert [row[0] for row in table.rows] == ["fcn8s", "fcn8s + one_way", "<b>", "<b> + three_way"]
    assert table.rows[0][1:] == ["91.22", "77.61", "65.51"]
    assert table.rows[1][1:] == ["91.22", "77.61", "-"]


def test_json_markdown_and_page(tmp_path):
    folder = written(tmp_path)
    assert json.loads((folder / "universal.json").read_text()) == RESULTS
    assert "| fcn8s + one_way |" in (folder / "universal.md").read_text()
    page = read(folder / "report.html")
    assert "<b> + three_way" in page.text
    assert "b" not in page.tags
    assert page.links == ["./fcn8s/report.html", "./%3Cb%3E/report.html"]


def test_they_are_drawn_again_from_what_the_sources_hold(tmp_path, capsys):
    folder = written(tmp_path)
    metrics = {**RESULTS["fcn8s"], "three_way": {**NUMBERS, "mIoU": 0.6986}}
    (folder / "fcn8s" / "metrics.json").write_text(json.dumps(metrics))
    assert read_universal(folder)["fcn8s"] == metrics
    assert spatialprop(["report", str(folder)]) == 0
    assert "69.86" in capsys.readouterr().out
    assert "69.86" in (folder / "universal.md").read_text()


def test_a_file_that_was_cut_off(tmp_path):
    (tmp_path / "universal.json").write_text('{"fcn8s": ')
    with pytest.raises(ValueError, match="was the evaluation cut off"):
        read_universal(tmp_path)


@pytest.mark.parametrize("name", ["../victim", "..", "a/../../victim", "/tmp", "link", ".", "a\\..\\victim"])
def test_no_name_leads_to_another_run(tmp_path, name, capsys):
    """The report of a run that somebody sent would replace the page of another."""
    folder, victim = written_in(tmp_path / "sent"), written_in(tmp_path / "victim")
    (folder / "link").symlink_to(victim)
    page = victim / "report.html"
    page.write_text("untouched")
    (folder / "universal.json").write_text(json.dumps({name: {}}))
    assert spatialprop(["report", str(folder)]) == 2
    assert "is not the name of a folder" in capsys.readouterr().err
    assert page.read_text() == "untouched"


def written_in(folder):
    folder.mkdir()
    return written(folder)


def test_a_link_is_never_a_script(tmp_path):
    (tmp_path / "javascript:alert(1)").mkdir()
    results = {"javascript:alert(1)": RESULTS["fcn8s"]}
    assert read(write_universal(tmp_path, results)).links == ["./javascript%3Aalert%281%29/report.html"]
