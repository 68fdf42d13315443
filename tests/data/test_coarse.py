"""Coarse maps reach the examples, are kept, and are asked for where they are missing."""

import pickle

import numpy as np
import pytest

from spatialprop.data import CoarseFiles, ImageFolder, SimulatedCoarse, SyntheticShapes, WithCoarse
from spatialprop.data.coarse.maps import coarse_map
from tests.data.tiny_folder import write_tiny_folder


@pytest.fixture
def files(tmp_path):
    return CoarseFiles(tmp_path / "coarse" / "train", SyntheticShapes.labels)


def test_examples_get_the_coarse_map_and_keep_the_rest():
    shapes = SyntheticShapes("train", 2, size=(40, 48))
    simulated = SimulatedCoarse(6)
    data = WithCoarse(shapes, simulated)
    assert (len(data), data.names, data.labels) == (2, shapes.names, shapes.labels)
    np.testing.assert_array_equal(data[1].coarse, simulated(shapes[1]))
    np.testing.assert_array_equal(data[1].image, shapes[1].image)


def test_files_give_back_what_was_written(files):
    example = SyntheticShapes("train", 1, size=(40, 48))[0]
    coarse = SimulatedCoarse(6)(example)
    files.write(example.name, coarse)
    assert files.path(example.name).name == "train_00000.npz"
    np.testing.assert_array_equal(files(example), coarse)
    files.write(example.name, coarse[:, ::-1])
    np.testing.assert_array_equal(files(example), coarse[:, ::-1])
    assert [path.name for path in files.path("").parent.iterdir()] == ["train_00000.npz"]


def test_a_map_that_was_never_written(files):
    example = SyntheticShapes("train", 1, size=(8, 8))[0]
    with pytest.raises(FileNotFoundError, match=r"train_00000\.npz does not exist"):
        files(example)


def test_an_image_without_a_coarse_map_is_named_with_the_ways_out(tmp_path):
    example = ImageFolder(write_tiny_folder(tmp_path, coarse=False), ["val"])[1]
    with pytest.raises(FileNotFoundError, match=r"'val_1' has no coarse map; .*coarse/.*simulate_missing=true.*=unet"):
        coarse_map(example)
    assert coarse_map(example._replace(coarse=np.ones((4, 5, 7), np.uint8))).shape == (4, 5, 7)


def test_data_sets_can_be_sent_to_workers_that_are_not_forked(tmp_path, files):
    for coarse_of in (SimulatedCoarse(4), coarse_map, files):
        data = WithCoarse(ImageFolder(write_tiny_folder(tmp_path / type(coarse_of).__name__), ["train"]), coarse_of)
        assert pickle.loads(pickle.dumps(data)).names == data.names
