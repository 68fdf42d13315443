import numpy as np
import pytest

from spatialprop.report import read_run
from spatialprop.report.run import read_curves
from tests.report.folders import CLASSES, arrays, write_csv, write_overrides, write_run


def test_a_complete_folder_is_read_whole(tmp_path):
    run = read_run(write_run(tmp_path / "name" / "time", examples=5))
    assert run.name == "name/time"
    assert run.overrides == ("propagation=one_way", "data.root=my data", "seed=2")
    assert run.labels.classes == tuple(CLASSES)
    assert run.labels.scored == (0, 1)
    assert list(run.metrics) == ["coarse", "densecrf", "refined"]
    assert [name for name, _ in run.examples] == [f"image_{index}" for index in range(5)]
    np.testing.assert_array_equal(run.examples[3][1]["image"], arrays(3)["image"])
    assert run.curves["val/refined_mIoU"] == ([80, 160], [0.8, 0.81])
    assert run.segmenter_curves == {"train/loss": ([0], [2.0]), "val/mIoU": ([9], [0.5])}


def test_a_resumed_run_replaces_what_came_after_its_checkpoint(tmp_path):
    write_csv(tmp_path, 0, "epoch,step,train/loss,val/mIoU\n0,0,9,\n0,10,8,\n0,10,,0.1\n0,20,7,\n0,30,6,\n")
    write_csv(tmp_path, 1, "epoch,step,val/mIoU,train/loss\n0,20,,5\n0,30,,4\n0,30,0.3,\n")
    assert read_curves(tmp_path) == {"train/loss": ([0, 10, 20, 30], [9, 8, 5, 4]), "val/mIoU": ([10, 30], [0.1, 0.3])}


def test_versions_count_beyond_nine_and_may_be_empty(tmp_path):
    for version in (2, 10):
        write_csv(tmp_path, version, f"step,train/loss\n0,{version}\n")
    write_csv(tmp_path, 11, "step,train/loss\n")
    write_csv(tmp_path, 12, "")
    assert read_curves(tmp_path) == {"train/loss": ([0], [10])}


def test_a_line_that_was_cut_off_is_passed_over(tmp_path):
    write_csv(tmp_path, 0, "step,train/loss,lr\n0,1.5,0.1\n10,1.2e")
    assert read_curves(tmp_path) == {"train/loss": ([0], [1.5]), "lr": ([0], [0.1])}


def test_without_data_json_the_labels_are_numbered(tmp_path):
    folder = write_run(tmp_path / "run")
    (folder / "data.json").unlink()
    assert read_run(folder).labels.classes == ("class 0", "class 1", "class 2", "class 3")


def test_an_example_that_was_cut_off_is_left_out(tmp_path):
    folder = write_run(tmp_path / "run", examples=3)
    path = folder / "examples" / "01_image_1.npz"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.warns(UserWarning, match=r"01_image_1\.npz cannot be read"):
        run = read_run(folder)
    assert [name for name, _ in run.examples] == ["image_0", "image_2"]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("metrics.json", "{", "is not JSON"),
        ("metrics.json", "[]", "must be an object"),
        ("metrics.json", '{"mIoU": 0.5}', "scores for each method"),
        ("data.json", "{}", "lacks the key 'classes'"),
        ("data.json", '{"classes": 3}', "list of class names"),
        (".hydra/overrides.yaml", "a: 1", "list of overrides"),
        (".hydra/overrides.yaml", "[", "cannot be read: while parsing"),
        (".hydra/overrides.yaml", '["\\ud800"]', "overrides.yaml cannot be read: holds half a character"),
    ],
)
def test_a_broken_file_is_named(tmp_path, file, content, message):
    folder = write_run(tmp_path / "run")
    (folder / file).write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        read_run(folder)
    assert file in str(error.value)


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        read_run(tmp_path / "missing")
    with pytest.raises(FileNotFoundError, match=r"holds none of metrics\.json"):
        read_run(tmp_path)


def test_overrides_keep_their_words(tmp_path):
    write_overrides(tmp_path, ["seed=1", "patches.size=[64,64]"])
    assert read_run(tmp_path).overrides == ("seed=1", "patches.size=[64,64]")
