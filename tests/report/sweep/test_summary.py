import json
import math

import pytest

from spatialprop.report import summarise, write_summary
from spatialprop.report.sweep.differences import difference_table
from spatialprop.report.sweep.figures import draw_scores, draw_trimaps
from spatialprop.report.sweep.results import GAIN, MeanStd
from tests.report.folders import scores, write_job
from tests.report.reader import read

REFINED = {"one_way": (0.75, 0.77, 0.76), "three_way": (0.80, 0.84, 0.79)}
COARSE = (0.70, 0.74, 0.69)


@pytest.fixture
def multirun(tmp_path):
    folder = tmp_path / "multirun" / "time"
    number = 0
    for connection, refined in REFINED.items():
        for seed in range(3):
            overrides = [f"propagation={connection}", f"seed={seed + 1}", "trainer=cpu"]
            write_job(folder, number, overrides, {"coarse": scores(COARSE[seed]), "refined": scores(refined[seed])})
            number += 1
    (folder / "multirun.yaml").write_text("hydra: {}\n")
    return folder


def test_mean_and_deviation_by_hand():
    spread = MeanStd([1.0, 2.0, 6.0])
    assert spread.mean == 3
    assert spread.deviation == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert MeanStd([0.5]).deviation is None
    assert MeanStd([0.5]).text() == "50.0"
    assert MeanStd([-0.02, -0.04]).text("+") == "-3.0 ± 1.4"


def test_jobs_that_differ_in_the_seed_alone_are_one_setting(multirun):
    summary = summarise(multirun)
    assert summary.name == "multirun/time"
    assert summary.columns == ["propagation"]
    assert [setting.overrides for setting in summary.settings] == [
        {"propagation": "one_way"}, {"propagation": "three_way"}
    ]  # fmt: skip
    assert [setting.jobs for setting in summary.settings] == [["0", "1", "2"], ["3", "4", "5"]]
    assert [setting.seeds for setting in summary.settings] == [["1", "2", "3"]] * 2
    three_way = summary.settings[1]
    found = three_way.result("refined").scores()["mIoU"]
    assert found.mean == pytest.approx(0.81)
    assert found.deviation == pytest.approx(math.sqrt((0.01**2 + 0.03**2 + 0.02**2) / 2))
    # Gains of 0.10, 0.10 and 0.10: the scatter between seeds is not theirs.
    assert three_way.result("refined").scores()[GAIN].mean == pytest.approx(0.1)
    assert three_way.result("refined").scores()[GAIN].deviation == pytest.approx(0)
    assert GAIN not in three_way.result("coarse").scores()
    assert three_way.result("refined").trimap()[3].mean == pytest.approx(0.51)


def test_one_table(multirun):
    heading, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in summarise(multirun).table().text().split("\n")
    ]
    assert heading[:5] == ["propagation", "method", "n", "mIoU", "mIoU over coarse"]
    assert [row[:5] for row in rows] == [
        ["-", "coarse", "3", "71.0 ± 2.6", "-"],
        ["one_way", "refined", "3", "76.0 ± 1.0", "+5.0 ± 2.0"],
        ["three_way", "refined", "3", "81.0 ± 2.6", "+10.0 ± 0.0"],
    ]
    assert heading[-1] == "trimap IoU 3 px"
    assert rows[2][-1] == "51.0 ± 2.6"


def test_jobs_without_a_result_are_listed_and_lose_nothing(multirun):
    write_job(multirun, 6, ["propagation=none", "seed=1"])
    write_job(multirun, 10, ["propagation=one_way", "seed=9"], {"coarse": scores(0.7), "refined": {"mIoU": None}})
    write_job(multirun, 9, ["propagation=one_way", "seed=8"], {})
    (multirun / "4" / "metrics.json").write_text("{")
    summary = summarise(multirun)
    assert [(job, overrides) for job, overrides, _ in summary.failed] == [
        ("4", "propagation=three_way seed=2 trainer=cpu"),
        ("6", "propagation=none seed=1"),
        ("9", "propagation=one_way seed=8"),
    ]
    assert "is not JSON" in summary.failed[0][2]
    assert "no metrics.json" in summary.failed[1][2]
    one_way, three_way = (s for s in summary.settings if s.overrides.get("trainer") == "cpu")
    assert three_way.result("refined").scores()["mIoU"].values == [0.80, 0.79]
    assert one_way.jobs == ["0", "1", "2"]
    shown = read(write_summary(summary))
    assert "3 without a result" in shown.text
    assert "## Without a result" in (multirun / "report.md").read_text(encoding="utf-8")


def test_settings_that_lack_an_override_are_their_own(tmp_path):
    write_job(tmp_path, 0, ["+patches.size=64", "seed=1"], {"coarse": scores(0.5)})
    write_job(tmp_path, 1, ["seed=1"], {"coarse": scores(0.6)})
    summary = summarise(tmp_path)
    assert summary.columns == ["patches.size"]
    assert [row[:2] for row in summary.table().rows] == [["64", "coarse"], ["-", "coarse"]]
    assert [setting.name for setting in summary.settings] == ["size=64", "default"]


def test_seeds_alone_are_one_setting(tmp_path):
    for seed in (1, 2):
        write_job(tmp_path, seed, [f"seed={seed}"], {"coarse": scores(seed / 4)})
    summary = summarise(tmp_path)
    assert summary.columns == []
    assert summary.table().rows[0][:3] == ["coarse", "2", "37.5 ± 17.7"]


def test_everything_is_written(multirun):
    page = write_summary(summarise(multirun))
    assert {path.name for path in (multirun / "figures").iterdir()} == {"scores.png", "trimap.png"}
    written = json.loads((multirun / "report.json").read_text())
    assert written["settings"][1]["overrides"] == {"propagation": "three_way"}
    found = written["settings"][1]["methods"]["refined"]
    assert found["mIoU"]["mean"] == pytest.approx(0.81)
    assert found["mIoU"]["n"] == 3
    assert found["trimap_IoU"]["20"]["std"] == pytest.approx(math.sqrt(0.0014 / 2))
    assert summarise(multirun).table().text() in (multirun / "report.md").read_text(encoding="utf-8")
    shown = read(page)
    assert len(shown.pictures) == 2
    assert shown.links == [f"./{job}/report.html" for job in range(6)]


def test_a_multirun_that_failed_altogether_says_so(tmp_path):
    write_job(tmp_path, 0, ["data=<b>", "seed=1"])
    shown = read(write_summary(summarise(tmp_path)))
    assert "data=<b>" in shown.text
    assert not shown.pictures
    assert json.loads((tmp_path / "report.json").read_text())["failed"][0]["job"] == "0"


def test_figures_show_every_setting(multirun):
    results = summarise(multirun).results()
    miou, boundary = draw_scores(results).axes
    shown = [label.get_text() for label in miou.get_yticklabels()]
    assert shown == ["coarse", "propagation=one_way", "propagation=three_way"]
    assert boundary.get_title(loc="left") == "Boundary IoU"
    curves, gains = ([list(line.get_ydata()) for line in axes.get_lines()] for axes in draw_trimaps(results).axes)
    assert curves[2] == pytest.approx([0.41, 0.51, 0.71])
    assert gains[1] == pytest.approx([0.1, 0.1, 0.1])
    assert draw_scores([]) is None
    assert draw_trimaps([]) is None


def test_a_folder_without_jobs_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no jobs"):
        summarise(tmp_path)


def test_settings_are_compared_seed_by_seed(multirun):
    table = difference_table(summarise(multirun))
    ((connection, count, miou, *_),) = table.rows
    assert (connection, count) == ("three_way", "3")
    assert miou == "+5.00 ± 2.00"  # of 5, 7 and 3 points
    page = read(write_summary(summarise(multirun)).parent / "report.html")
    assert "Differences from the first setting" in page.text


def test_seeds_that_score_alike_over_other_coarse_maps_stay_apart(tmp_path):
    for seed, coarse in ((1, 0.7007), (2, 0.7077)):
        write_job(tmp_path, seed, [f"seed={seed}"], {"coarse": scores(coarse), "refined": scores(0.7)})
    (setting,) = summarise(tmp_path).settings
    gain = setting.result("refined").scores()[GAIN]
    assert gain.values == pytest.approx([-0.0007, -0.0077])
    assert gain.text("+") == "-0.4 ± 0.5"


def test_nothing_is_minus_zero():
    assert MeanStd([-0.0001]).text() == "0.0"
    assert MeanStd([-0.0001]).text("+") == "+0.0"
