"""Folders that somebody sent: what is not as a run writes it is named, and never a traceback."""

import copy
import json
import os
import random
import zipfile

import numpy as np
import pytest

from spatialprop.cli import main as spatialprop
from spatialprop.data import LabelSet
from spatialprop.report import (
    affinity_tables,
    comparison_table,
    helen_tables,
    read_metrics,
    read_run,
    summarise,
    sweep_tables,
    write_report,
)
from tests.report.dilated.test_dilated import affinity_metrics
from tests.report.folders import arrays, write_job, write_run

ODD = [None, True, -1, 1.5, "text", [], {}, [[]], {"a": {"b": 1}}, 10**400, float("inf"), "\ud800", [1, "2"]]


def places(node, path=()):
    yield path
    if isinstance(node, dict | list):
        for key in node if isinstance(node, dict) else range(len(node)):
            yield from places(node[key], (*path, key))


def changed(content, path, value):
    content = copy.deepcopy(content)
    node = content
    for key in path[:-1]:
        node = node[key]
    if path:
        node[path[-1]] = value
    return content if path else value


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("share", range(4))
def test_metrics_of_any_shape_are_drawn_or_named(tmp_path, share):
    rng = random.Random(share)
    whole, messages = affinity_metrics(), []
    for number, (path, value) in enumerate(rng.sample([(p, v) for p in places(whole) for v in ODD], 40)):
        folder = tmp_path / str(number)
        write_job(folder, 0, ["seed=1"], changed(whole, path, value), data="x")
        write_job(folder, 1, ["seed=2"], whole, data="x")
        (folder / "metrics.json").write_text(json.dumps(changed(whole, path, value)))
        try:
            metrics = read_metrics(folder)
        except ValueError as error:
            messages.append(str(error))
        else:
            comparison_table(metrics), helen_tables(metrics), affinity_tables(metrics)
        sweep_tables(summarise(folder))
    assert messages
    assert all("metrics.json" in message for message in messages)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 50_000, "", "\x00", "[1]", '{"\\ud800": {}}', '{"coarse": 3}', '{"coarse"']
)
def test_json_that_is_none_is_named(tmp_path, text, capsys):
    folder = write_run(tmp_path / "run")
    (folder / "metrics.json").write_text(text)
    assert spatialprop(["report", str(folder)]) == 2
    assert "metrics.json" in capsys.readouterr().err


def test_half_a_character_in_a_class_is_named(tmp_path, capsys):
    with pytest.raises(ValueError, match=r"'\\ud800' holds half a character"):
        LabelSet("x", ("a", "\ud800"))
    folder = write_run(tmp_path / "run")
    (folder / "data.json").write_text(json.dumps({"name": "x", "classes": ["a", "\ud800"]}))
    assert spatialprop(["report", str(folder)]) == 2
    assert "half a character" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["overrides.yaml", "config.yaml"])
def test_bytes_that_are_no_text_are_no_traceback(tmp_path, name, capsys):
    folder = write_run(tmp_path / "run")
    place = folder / ".hydra" / name if name == "overrides.yaml" else folder / name
    place.write_bytes(b"a: \xff\xfe\x00")
    assert spatialprop(["report", str(folder)]) in (0, 2)


CHANGES = {
    "image": lambda a: a["image"].astype(np.float32),
    "label": lambda a: a["label"][:5],
    "coarse": lambda a: a["coarse"].astype(np.int64),
    "refined": lambda a: a["refined"][None],
    "affinity": lambda a: np.full_like(a["affinity"], np.nan),
    "pixel": lambda a: np.array([400, 7]),
    "method_densecrf": lambda a: np.zeros(0, np.uint8),
    "coarse_object": lambda a: np.array(["text"]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_arrays_that_no_run_writes_are_left_out(tmp_path, name):
    folder = write_run(tmp_path / "run", examples=2)
    one = arrays()
    np.savez(folder / "examples" / "00_image_0.npz", **{**one, name: CHANGES[name](one)})
    with pytest.warns(UserWarning, match=f"'{name}'.*is left out"):
        assert [found for found, _ in read_run(folder).examples] == ["image_1"]


def test_arrays_that_unpack_to_gigabytes_are_left_out(tmp_path):
    folder = write_run(tmp_path / "run")
    path = folder / "examples" / "00_image_0.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("image.npy", "w") as member:
        for _ in range(600):
            member.write(bytes(1 << 20))
    with pytest.warns(UserWarning, match="bytes, at most"):
        assert write_report(folder).is_file()


@pytest.mark.parametrize("damage", ["pipe", "endless", "sparse"])
@pytest.mark.parametrize(
    "name",
    [
        "metrics.json",
        "data.json",
        "config.yaml",
        ".hydra/overrides.yaml",
        "csv/version_0/metrics.csv",
        "universal.json",
    ],
)
def test_files_that_never_end_are_named_or_left_out(tmp_path, name, damage, capsys):
    folder = write_run(tmp_path / "run", examples=0)
    path = folder / name
    path.unlink(missing_ok=True)
    if damage == "pipe":
        os.mkfifo(path)
    elif damage == "endless":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(1 << 36)
    code = spatialprop(["report", str(folder)])
    said = capsys.readouterr().err
    assert code == 0 if damage != "sparse" and "csv" not in name else (code, path.name in said) == (2, True)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_example_that_is_a_pipe_is_left_out(tmp_path):
    folder = write_run(tmp_path / "run")
    os.mkfifo(folder / "examples" / "01_pipe.npz")
    assert [name for name, _ in read_run(folder).examples] == ["image_0"]


def test_figures_are_not_written_through_a_link(tmp_path, capsys):
    folder, elsewhere = write_run(tmp_path / "run"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (folder / "figures").symlink_to(elsewhere)
    assert spatialprop(["report", str(folder)]) == 2
    assert "is a link" in capsys.readouterr().err
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize(
    ("method", "where"),
    [
        ("coarse", ("affinity", "1", "all", "different", "F1")),
        ("coarse", ("cost", "milliseconds", "segmenter")),
        ("refined", ("changes", "right")),
        ("refined", ("steps", next(iter(affinity_metrics()["refined"]["steps"])), "mIoU")),
        ("coarse", ()),
    ],
)
def test_scores_that_are_left_out_are_missing_in_the_tables_of_a_multirun(tmp_path, method, where):
    metrics = copy.deepcopy(affinity_metrics())
    node = metrics
    for key in (method, *where)[:-1]:
        node = node[key]
    del node[(method, *where)[-1]]
    write_job(tmp_path, 0, ["seed=1"], metrics, data="x")
    write_job(tmp_path, 1, ["seed=2"], affinity_metrics(), data="x")
    assert sweep_tables(summarise(tmp_path))


def test_regions_have_sizes_as_names(tmp_path):
    metrics = affinity_metrics()
    regions = metrics["refined"]["error_regions"]
    regions["<b>"] = next(iter(regions.values()))
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(ValueError, match="must have whole numbers as names"):
        read_metrics(tmp_path)
