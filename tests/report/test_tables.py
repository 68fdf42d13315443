from spatialprop.report import Table, comparison_table
from spatialprop.report.page import page
from tests.report.folders import scores


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]


def test_every_score_is_shown_in_percent():
    refined = scores(0.8049, changes={"changed": 0.081, "right": 0.7, "wrong": 0.2}, milliseconds=41.26)
    heading, _, coarse, row = cells(comparison_table({"coarse": scores(0.7), "refined": refined}).text())
    assert heading == [
        "method", "mIoU", "pixel accuracy", "mean accuracy", "Boundary IoU", "trimap IoU 3 px",
        "changed", "rightly", "wrongly", "ms",
    ]  # fmt: skip
    assert coarse == ["coarse", "70.0", "80.0", "75.0", "50.0", "40.0", "-", "-", "-", "-"]
    assert row == ["refined", "80.5", "90.5", "85.5", "60.5", "50.5", "8.1", "70.0", "20.0", "41.3"]


def test_lines_are_of_one_length():
    lines = comparison_table({"coarse": scores(0.7), "a long name": scores(1.0)}).text().splitlines()
    assert len({len(line) for line in lines}) == 1


def test_missing_scores_are_dashes_and_unknown_columns_are_left_out():
    metrics = {"coarse": {"mIoU": 0.5}, "oracle": {}, "broken": {"mIoU": None, "changes": None, "trimap_IoU": None}}
    heading, _, *rows = cells(comparison_table(metrics).text())
    assert heading == ["method", "mIoU"]
    assert rows == [["coarse", "50.0"], ["oracle", "-"], ["broken", "-"]]


def test_undefined_scores_are_dashes():
    assert comparison_table({"coarse": {"mIoU": float("nan"), "pixel_accuracy": 0.5}}).rows == [("coarse", "50.0")]


def test_trimap_is_shown_at_the_nearest_radius():
    table = comparison_table({"coarse": {"trimap_IoU": {"10": 0.9, "2": 0.5, "1": 0.1}}})
    assert table.heading == ["method", "trimap IoU 2 px"]
    assert table.rows == [("coarse", "50.0")]


def test_signs_that_mean_something_are_escaped():
    table = Table(["method"], [["<b>|&\nx"]])
    assert "<td>&lt;b&gt;|&amp;\nx</td>" in page(
        "sweep.html", "t", about=[], tables={"T": (table, "")}, figures=[], links=[], links_title=""
    )
    assert table.text().splitlines()[2] == r"| <b>\|& x |"


def test_a_terminal_gets_a_drawn_table(monkeypatch):
    table = comparison_table({"coarse": {"mIoU": 0.7}, "[red]": {"mIoU": 0.8}})
    assert table.for_console() == table.text()
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    drawn = table.for_console()
    assert "│" in drawn
    assert "[red]" in drawn
    assert "80.0" in drawn
