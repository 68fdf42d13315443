"""Image, label and coarse map stay on top of each other, and chance depends on the seed alone."""

import json
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from spatialprop.data import Augment, ImageFolder, LabelSet, WholeImages
from spatialprop.data.loading.samples import SampleKey, TrainingPatches
from tests.data.tiny_folder import write_tiny_folder

HEIGHT, WIDTH = 20, 31
ROWS, COLUMNS = np.indices((HEIGHT, WIDTH))


def places(classes=6):
    """A sample that says in image, label and coarse map alike from which pixel each value comes."""
    image = np.stack([ROWS, COLUMNS, ROWS + COLUMNS], axis=2).astype(np.uint8)
    label = (ROWS * 8 + COLUMNS // 4).astype(np.uint8)
    coarse = np.stack([(ROWS * WIDTH + COLUMNS) * (k + 1) for k in range(classes)]).astype(np.float32)
    return image, label, coarse


FLIPS = {(0, 0): np.s_[:, :], (1, 0): np.s_[:, ::-1], (0, 1): np.s_[::-1, :], (1, 1): np.s_[::-1, ::-1]}


@pytest.mark.parametrize("classes", [1, 2, 3, 4, 6, 21, 255])
@pytest.mark.parametrize("flips", FLIPS)
def test_all_three_move_together(flips, classes):
    image, label, coarse = places(classes)
    augment = Augment(flip=flips[0], vertical_flip=flips[1], colour=0)
    moved = augment(image, label, coarse, seed=3)
    np.testing.assert_array_equal(moved[0], image[FLIPS[flips]])
    np.testing.assert_array_equal(moved[1], label[FLIPS[flips]])
    np.testing.assert_array_equal(moved[2], coarse[(slice(None), *FLIPS[flips])])
    assert moved[2].dtype == np.float32
    torch.from_numpy(moved[2])  # which refuses views that run backwards


def test_by_chance_all_three_still_move_together():
    image, label, coarse = places()
    augment = Augment(flip=0.5, vertical_flip=0.5, colour=0)
    seen = set()
    for seed in range(40):
        moved = augment(image, label, coarse, seed=seed)
        np.testing.assert_array_equal(moved[0][..., 0] * 8 + moved[0][..., 1] // 4, moved[1])
        np.testing.assert_array_equal(moved[0][..., 0].astype(int) * WIDTH + moved[0][..., 1], moved[2][0])
        seen.add(moved[1][0, 0])
    assert len(seen) == 4


@pytest.mark.parametrize("change", ["colour", "blur", "noise"])
def test_colour_blur_and_noise_touch_the_image_alone(change):
    image, label, coarse = places()
    image = image * 4
    settings = {"flip": 0, "colour": 0, change: 1}
    changed = Augment(**settings)(image, label, coarse, seed=0)
    assert changed[0].dtype == np.uint8
    assert (changed[0] != image).mean() > 0.2
    np.testing.assert_array_equal(changed[1], label)
    np.testing.assert_array_equal(changed[2], coarse)


def test_nothing_is_written_to():
    sample = places()
    before = [part.copy() for part in sample]
    Augment(flip=1, vertical_flip=1, colour=1, blur=1, noise=1)(*sample, seed=0)
    for part, was in zip(sample, before, strict=True):
        np.testing.assert_array_equal(part, was)


@pytest.mark.parametrize("flips", [(1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1)])
def test_flips_of_images_of_one_pixel_become_tensors(size, flips):
    sample = np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8), np.zeros((2, *size), np.float32)
    for part in Augment(*flips, colour=0)(*sample, seed=0):
        assert torch.from_numpy(part).shape == part.shape


def test_without_a_coarse_map():
    image, label, _ = places()
    augment = Augment(flip=0.5, colour=1)
    for seed in range(5):
        alone, together = augment(image, label, None, seed=seed), augment(*places(), seed=seed)
        assert alone[2] is None
        np.testing.assert_array_equal(alone[0], together[0])
        np.testing.assert_array_equal(alone[1], together[1])


def test_the_seed_alone_decides():
    """Not the global generators, which albumentations ignores anyway, nor what was augmented before."""
    sample = places()
    settings = {"flip": 0.5, "vertical_flip": 0.5, "colour": 0.7, "blur": 0.5, "noise": 0.5}
    used, fresh = Augment(**settings), Augment(**settings)
    images = [used(*sample, seed=seed)[0] for seed in range(12)]
    assert len({image.tobytes() for image in images}) > 8
    for seed in (7, 0, 11):
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
        np.testing.assert_array_equal(fresh(*sample, seed=seed)[0], images[seed])
        np.testing.assert_array_equal(used(*sample, seed=seed)[0], images[seed])


def test_changes_are_independent_of_each_other():
    """`Compose.set_random_seed` gives every transform the same draws: mirrored images alone would change colour."""
    image, label, coarse = places()
    augment = Augment(flip=0.5, vertical_flip=0.5, colour=0.5, noise=0.5)
    seen = []
    for seed in range(200):
        changed = augment(np.full_like(image, 100), label, coarse, seed=seed)
        row, column = divmod(int(changed[2][0, 0, 0]), WIDTH)
        coloured = np.median(changed[0]) != 100
        noisy = len(np.unique(changed[0][..., 0])) > 1
        seen.append((row > 0, column > 0, coloured, noisy))
    correlation = np.corrcoef(np.array(seen, float).T)
    assert len(set(seen)) == 16
    assert np.abs(correlation - np.eye(4)).max() < 0.2


@pytest.mark.slow
def test_importing_it_asks_no_server_for_a_newer_version():
    script = """
import os, urllib.request
os.environ.pop("NO_ALBUMENTATIONS_UPDATE", None)
class Opener:
    def open(self, url, timeout):
        print("asked", url)
        raise OSError
urllib.request.build_opener = lambda *_: Opener()
import spatialprop.data.loading.augment
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == ""


def test_left_and_right_parts_change_places_in_a_mirror_image():
    labels = LabelSet("face", ("background", "left", "right", "nose"), mirrored=((1, 2),))
    image, label = np.zeros((1, 4, 3), np.uint8), np.array([[1, 3, 2, 255]], np.uint8)
    coarse = np.eye(4, dtype=np.float32)[[1, 3, 2, 0]].T[:, None]  # (4, 1, 4)
    mirror, same = (Augment(flip=flip, colour=0) for flip in (1, 0))
    moved = mirror(image, label, coarse, 0, labels.in_mirror)
    assert moved[1].tolist() == [[255, 1, 3, 2]]
    assert moved[2].argmax(axis=0).tolist() == [[0, 1, 3, 2]]
    assert same(image, label, coarse, 0, labels.in_mirror)[1].tolist() == label.tolist()
    upside_down = Augment(flip=0, vertical_flip=1, colour=0)(image, label, coarse, 0, labels.in_mirror)
    assert upside_down[1].tolist() == label.tolist()


@pytest.mark.parametrize("mirrored", [((1, 4),), ((1, 2), (2, 3)), ((1, 1),)])
def test_mirrored_classes_that_make_no_sense(mirrored):
    with pytest.raises(ValueError, match="mirrored must be pairs of classes from 0 to 3"):
        LabelSet("face", ("background", "left", "right", "nose"), mirrored=mirrored)


def test_training_patches_know_which_parts_change_places(tmp_path):
    root = write_tiny_folder(tmp_path, splits=("train",), images=1, ignore_index=None)
    fields = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps({**fields, "mirrored": [[1, 3]]}))
    data = ImageFolder(root, ["train"])
    assert data.labels.mirrored == ((1, 3),)
    patches = TrainingPatches(data, WholeImages(), Augment(flip=1, colour=0), seed=0)
    expected = np.array([0, 3, 2, 1])[data[0].label[:, ::-1]]
    np.testing.assert_array_equal(patches[SampleKey(0, 0)]["label"].numpy(), expected)
