"""What reports show of dilated affinity."""

import json

import numpy as np
import pytest

from spatialprop.callbacks.failures import KINDS
from spatialprop.cli import main as spatialprop
from spatialprop.data import LabelSet
from spatialprop.metrics.affinity import NEAR_BORDER
from spatialprop.metrics.image_effects import SMALL
from spatialprop.report import affinity_tables, read_kinds, read_run, summarise, write_report
from spatialprop.report.dilated import NOTES
from spatialprop.report.dilated.figures import draw_failures, draw_steps
from spatialprop.report.sweep.dilated import affinity_sweep_tables, draw_steps_of_settings
from tests.report.folders import arrays, scores, write_job, write_run
from tests.report.reader import read


def affinity_metrics(miou=0.7, head=True, gain=0.02):
    """What a test of the task leaves: of the segmenter alone, or with affinities and propagation."""
    parts = {"segmenter": 1000, "head": 100, "propagation": 0} if head else {"segmenter": 1000}
    cost = {
        "size": [48, 64],
        "parameters": parts,
        "FLOPs": {part: 1e6 * (count + 10) for part, count in parts.items()},
        "milliseconds": dict.fromkeys(parts, 5.0),
    }
    if not head:
        return {"coarse": scores(miou, cost=cost)}
    question = {"share": 0.1, "precision": 0.5, "recall": None, "F1": 0.6, "average_precision": 0.55}
    places = {place: {"same": question, "different": question} for place in ("all", "near_border")}
    changes = {"changed": 0.1, "right": 0.7, "wrong": 0.2, "neutral": 0.1}
    nothing = {"changed": 0.0, "right": None, "wrong": None, "neutral": None}
    steps = {"0": {"mIoU": miou, **nothing}, "5": {"mIoU": miou + gain, **changes}}
    regions = {"0": {"regions": 2, "before": 0, "after": 4}, "1-3": {"regions": 4, "before": 8, "after": 2},
               "4-15": {"regions": 0, "before": 0, "after": 0}}  # fmt: skip
    images = {
        "pixels": [100, 100, 100, 0], "wrong": [10, 30, 20, 0], "wrong_in_small_regions": [5, 15, 20, 0],
        "mended": [1, 15, 4, 0], "broken": [3, 0, 4, 0], "border_pairs": [10, 10, 0, 0],
        "border_pairs_seen": [9, 8, 0, 0],
    }  # fmt: skip
    return {
        "coarse": scores(miou, cost=cost, affinity={"1": places, "4": places}),
        "refined": scores(miou + gain, changes=changes, steps=steps, error_regions=regions, images=images),
    }


def write_failures(folder, count=3):
    folder.mkdir()
    for kind in ("border", "spread"):
        for place in range(count):
            one = {
                name: array[:20, :20] for name, array in arrays(place).items() if name in ("image", "label", "coarse")
            }
            where = one["label"] == 1
            one |= {"refined": one["coarse"], "missed": np.where(where, 200, 0).astype(np.uint8), "where": where}
            if kind == "border":
                del one["refined"]
            if kind == "spread":
                one["before"] = 5700
            np.savez_compressed(folder / f"{kind}_{place:02d}_image_{place}.npz", size=126, **one)


@pytest.fixture
def run(tmp_path):
    folder = write_run(tmp_path / "outputs" / "dilated_affinity" / "time")
    (folder / "metrics.json").write_text(json.dumps(affinity_metrics()))
    write_failures(folder / "failures")
    return folder


def test_a_page_shows_tables_and_figures(run):
    shown = read(write_report(run))
    figures = {path.stem for path in (run / "figures").iterdir()}
    assert {"steps", "failures_border", "failures_spread"} <= figures
    titles = ("Accuracy of affinities", "When propagation helps", "Regions of errors", "Cost")
    for text in (*titles, "near a border", "error in small regions", "-75.0", "part, 48 x 64"):
        assert text in shown.text
    assert "4-15" not in shown.text  # no region was so large
    assert "Where a misclassification spreads" in shown.text


def test_the_command_prints_the_tables(run, capsys):
    assert spatialprop(["report", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "| propagation   |          0 |   0.0 % |" in printed
    assert "| 1        | near a border |      10.0 |      50.0 |      - | 60.0 | 55.0 |" in printed


def test_runs_of_other_tasks_have_none_of_it(tmp_path):
    folder = write_run(tmp_path / "run")
    shown = read(write_report(folder))
    assert "affinities" not in shown.text
    assert not {"steps.png", "failures_border.png"} & {path.name for path in (folder / "figures").iterdir()}


def test_the_segmenter_alone_has_its_cost():
    tables = affinity_tables(affinity_metrics(head=False))
    assert list(tables) == ["Cost"]
    assert [row[0] for row in tables["Cost"].rows] == ["segmenter"]


def test_a_failure_says_how_large_it_is(run):
    for kind, text in (("border", "126 px"), ("spread", "5,700 wrong pixels, +126 by propagation")):
        figure = draw_failures(read_kinds(run / "failures", KINDS)[kind], read_run(run).labels)
        said = [child.get_text() for axes in figure.axes for child in axes.texts]
        assert said == [text] * 3  # one for each row


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (6, 8)])
def test_failures_of_images_of_any_size_are_drawn(size):
    where = np.zeros(size, np.bool_)
    where[:, :3] = True
    failure = {name: np.zeros(size, np.uint8) for name in ("label", "coarse", "refined", "missed")}
    failure |= {"image": np.zeros((*size, 3), np.uint8), "where": where, "size": np.int64(3)}
    figure = draw_failures([("thin", failure)], LabelSet("two", ("background", "thing")))
    figure.canvas.draw()
    outlined = [axes for axes in figure.axes if axes.collections]
    assert len(outlined) == 2
    for axes in outlined:
        assert axes.get_xlim() == (-0.5, size[1] - 0.5)
        assert axes.get_ylim() == (size[0] - 0.5, -0.5)


def test_a_curve_of_undefined_scores_is_left_out():
    nothing = {"mIoU": None, "changed": None, "right": None, "wrong": None, "neutral": None}
    assert draw_steps({"0": nothing, "5": nothing}, None) is None


def test_a_broken_failure_is_left_out(run):
    (run / "failures" / "border_01_image_1.npz").write_bytes(b"PK\x03\x04")
    with pytest.warns(UserWarning, match="border_01_image_1.npz cannot be read"):
        found = read_kinds(run / "failures", KINDS)
    assert [name for name, _ in found["border"]] == ["image_0", "image_2"]


@pytest.fixture
def multirun(tmp_path):
    folder = tmp_path / "multirun" / "time"
    number = 0
    for seed, base in ((1, 0.7), (2, 0.6)):
        for experiment, options in (("base", {"head": False}), ("full", {"gain": 0.02 * seed})):
            overrides = [f"experiment={experiment}", f"seed={seed}"]
            write_job(folder, number, overrides, affinity_metrics(base, **options))
            number += 1
    return folder


def test_settings_are_compared_with_the_segmenter_of_the_same_seed(multirun):
    rows = affinity_sweep_tables(summarise(multirun))["Against the segmenter alone"].rows
    assert rows == [
        ["base", "coarse", "2", "65.0 ± 7.1", "+0.0 ± 0.0", "-", "45.0 ± 7.1", "+0.0 ± 0.0", "-"],
        ["full", "coarse", "2", "65.0 ± 7.1", "+0.0 ± 0.0", "-", "45.0 ± 7.1", "+0.0 ± 0.0", "-"],
        ["full", "refined", "2", "68.0 ± 5.7", "+3.0 ± 1.4", "+3.0 ± 1.4", "48.0 ± 5.7", "+3.0 ± 1.4", "+3.0 ± 1.4"],
    ]


def test_gains_over_the_own_coarse_output_are_not_those_over_the_base(tmp_path):
    write_job(tmp_path, 0, ["experiment=base", "seed=1"], affinity_metrics(0.7, head=False))
    full = affinity_metrics(0.75, gain=0.02)
    full["coarse"]["boundary_IoU"], full["refined"]["boundary_IoU"] = 0.58, 0.47
    write_job(tmp_path, 1, ["experiment=full", "seed=1"], full)
    *_, refined = affinity_sweep_tables(summarise(tmp_path))["Against the segmenter alone"].rows
    assert refined == ["full", "refined", "1", "77.0", "+7.0", "+2.0", "47.0", "-3.0", "-11.0"]


def test_a_multirun_has_means_over_seeds(multirun, capsys):
    assert spatialprop(["report", str(multirun)]) == 0
    printed = capsys.readouterr().out
    assert "| full       | 10.0 ± 0.0 | 70.0 ± 0.0 | 20.0 ± 0.0 | +5.0 ± 0.0 |" in printed
    assert "| full       | -75.0 ± 0.0 | +50.0 ± 0.0 | -25.0 ± 0.0 |" in printed  # of regions there were, new, all
    assert "| full       | head        |        100 |  10.0 % |" in printed
    page = read(multirun / "report.html")
    assert "Cost of each part" in page.text
    assert "Cost of each part" in (multirun / "report.md").read_text()
    assert (multirun / "figures" / "steps.png").is_file()


def test_all_tables_are_written_as_numbers(multirun):
    assert spatialprop(["report", str(multirun)]) == 0
    written = json.loads((multirun / "report.json").read_text())
    tables = written["tables"]
    assert list(tables) == [
        "against_segmenter",
        "affinity",
        "changes",
        "steps",
        "when_it_helps",
        "error_regions",
        "cost",
    ]
    assert len(tables) == len(affinity_sweep_tables(summarise(multirun)))
    *_, refined = tables["against_segmenter"]
    assert refined["overrides"] == {"experiment": "full"}
    assert (refined["method"], refined["n"]) == ("refined", 2)
    gain = refined["mIoU_over_coarse"]
    assert gain["values"] == pytest.approx([0.02, 0.04])
    assert (gain["mean"], gain["std"], gain["n"]) == pytest.approx((0.03, 0.02 / 2**0.5, 2))
    assert tables["affinity"][0]["pairs"] == "all"
    assert tables["affinity"][0]["recall"] is None
    assert tables["error_regions"][0]["new"]["mean"] == 0.5
    assert tables["steps"][1]["net"]["mean"] == pytest.approx(0.05)
    scored = written["settings"][1]["methods"]["refined"]
    assert {seed: found["mIoU"] for seed, found in scored["by_seed"].items()} == pytest.approx({"1": 0.72, "2": 0.64})
    assert scored["mIoU"]["mean"] == pytest.approx(0.68)


def test_times_of_all_settings_have_one_base(tmp_path):
    """A segmenter is timed in each job, and what it takes is the same for all of them."""
    for number, (seed, head, time) in enumerate([(1, False, 4.0), (1, True, 5.0), (2, False, 6.0), (2, True, 90.0)]):
        metrics = affinity_metrics(head=head)
        metrics["coarse"]["cost"]["milliseconds"]["segmenter"] = time
        write_job(tmp_path, number, [f"experiment={'full' if head else 'base'}", f"seed={seed}"], metrics)
    other = affinity_metrics(head=False)
    other["coarse"]["cost"] |= {"parameters": {"segmenter": 7}, "milliseconds": {"segmenter": 1.0}}
    write_job(tmp_path, 4, ["experiment=other", "seed=1"], other)
    rows = affinity_sweep_tables(summarise(tmp_path))["Cost of each part"].rows
    assert [[*row[:2], *row[-2:]] for row in rows] == [
        ["base", "segmenter", "5.0", "90.9 %"],  # the median of four is 5.5 ms
        ["full", "segmenter", "47.5", "863.6 %"],
        ["full", "head", "5.0", "90.9 %"],
        ["full", "propagation", "5.0", "90.9 %"],
        ["other", "segmenter", "1.0", "100.0 %"],
    ]


def test_a_multirun_of_other_tasks_has_none_of_it(tmp_path):
    changes = {"changed": 0.1, "right": 0.7, "wrong": 0.2, "neutral": 0.1}
    for seed in (1, 2):
        metrics = {"coarse": scores(0.6), "refined": scores(0.7, changes=changes)}
        write_job(tmp_path, seed, [f"seed={seed}"], metrics)
    summary = summarise(tmp_path)
    assert affinity_sweep_tables(summary) == {}
    assert draw_steps_of_settings(summary.settings) is None


def test_without_one_segmenter_alone_there_is_nothing_to_compare_with(tmp_path):
    write_job(tmp_path, 0, ["experiment=full", "seed=1"], affinity_metrics())
    assert "Against the segmenter alone" not in affinity_sweep_tables(summarise(tmp_path))


def test_notes_give_the_limits_that_metrics_use():
    assert f"within {NEAR_BORDER} cells" in NOTES["Accuracy of affinities"]
    assert f"at most 1/{1 / SMALL:.0f} of the image" in NOTES["When propagation helps"]
