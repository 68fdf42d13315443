"""HELEN: soft maps become classes, and faces come to one place."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spatialprop.data import VOID, helen
from spatialprop.data.sets.alignment import COLUMNS, mean_shape, outside, read_key_points, similarity
from spatialprop.data.sets.helen import LABELS, SPLITS, Helen, read_list
from spatialprop.metrics.helen import COLUMNS as SCORED
from tests.data.imitations import save_image
from tests.data.tiny_folder import save_label

HELEN = {"exemplars": ["100032540_1", "100040721_1", "10405146_1"], "tuning": ["12799337_1"], "testing": ["13602254_1"]}
# Eyes, nose and corners of the mouth of an upright face around (0, 0), 20 pixels from eye to eye.
FACE = np.array([[-10.0, -8], [10, -8], [0, 2], [-7, 12], [7, 12]])


def write_helen(root: Path, *, size: tuple[int, int] = (70, 90)) -> Path:
    """Tilted faces of several sizes: each key point is the middle of a part of its own, with soft borders.

    The parts are left eye (4), right eye (5), nose (6) and, at the corners of the mouth, upper (7) and lower lip (9).
    """
    lines = [",".join(COLUMNS)]
    rng = np.random.default_rng(0)
    for split, names in HELEN.items():
        root.mkdir(parents=True, exist_ok=True)
        (root / f"{split}.txt").write_text("".join(f"{i + 1} , {name}\n" for i, name in enumerate(names)))
        for name in names:
            points = placed(FACE, rng.uniform(-0.4, 0.4), rng.uniform(0.8, 1.25), rng.uniform((38, 30), (52, 40)))
            soft = face_maps(points, size)
            save_image(root / "images" / f"{name}.jpg", seed=len(lines), size=size)
            (root / "labels" / name).mkdir(parents=True)
            for index, part in enumerate(soft):
                save_label(root / "labels" / name / f"{name}_lbl{index:02d}.png", part)
            lines.append(",".join([name, *(f"{value:.3f}" for value in points.ravel())]))
    (root / "points.csv").write_text("\n".join(lines) + "\n")
    return root


def placed(shape: np.ndarray, angle: float, scale: float, shift: np.ndarray) -> np.ndarray:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * shape @ turn.T + shift


PARTS = (4, 5, 6, 7, 9)  # at the five key points


def face_maps(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Soft label maps, 255 in sum at each pixel. (11, H, W)"""
    rows, across = np.indices(size)
    shares = np.zeros((11, *size))
    for part, (x, y) in zip(PARTS, points, strict=True):
        shares[part] = 1 / (1 + np.exp(np.minimum(2 * (np.hypot(across - x, rows - y) - 4), 50)))
    shares[1] = np.clip(1 - shares.sum(axis=0), 0, 1) * (np.hypot(*(np.stack([across, rows], -1) - points[2]).T).T < 25)
    shares[0] = 1 - shares[1:].sum(axis=0)
    return np.rint(shares * 255).clip(0, 255).astype(np.uint8)


NAME = HELEN["exemplars"][0]


@pytest.fixture
def root(tmp_path):
    return write_helen(tmp_path / "helen")


def test_classes_are_those_that_are_scored():
    names = dict(enumerate(LABELS.classes))
    assert [names[i] for i in SCORED["brows"]] == ["left brow", "right brow"]
    assert [names[i] for i in SCORED["eyes"]] == ["left eye", "right eye"]
    assert [names[i] for i in SCORED["mouth"]] == ["upper lip", "inner mouth", "lower lip"]
    assert [names[SCORED[part][0]] for part in ("skin", "nose", "U-lip", "in-mouth", "L-lip")] == [
        "skin", "nose", "upper lip", "inner mouth", "lower lip",
    ]  # fmt: skip
    assert (names[0], names[10]) == ("background", "hair")


def test_every_left_part_has_its_right_one_in_a_mirror():
    pairs = {LABELS.classes[one]: LABELS.classes[other] for one, other in LABELS.mirrored}
    assert pairs == {name: name.replace("left", "right") for name in LABELS.classes if name.startswith("left")}
    assert len(pairs) == 2


def test_official_lists(root):
    splits = helen(root=str(root), points=str(root / "points.csv"), size=64)
    assert [list(part.names) for part in splits] == [HELEN[split] for split in SPLITS]
    (root / "testing.txt").write_text("1 , a_1\n\n2, b_1\n3,c_1\n")
    assert read_list(root, "testing") == ["a_1", "b_1", "c_1"]


def test_each_file_is_the_class_of_its_number(root):
    """Stripe n is most likely in the map n, by as little as one."""
    stripes = np.arange(90) * 11 // 90
    for index in range(11):
        soft = np.where(stripes == index, 100, 99).astype(np.uint8)
        save_label(root / "labels" / NAME / f"{NAME}_lbl{index:02d}.png", np.tile(soft, (70, 1)))
    data = Helen(root, "exemplars", size=None)
    np.testing.assert_array_equal(data[0].label, np.tile(stripes, (70, 1)))


@pytest.mark.parametrize("shape", [None, (0.8 * FACE + 60).tolist()])
def test_key_points_come_to_the_mean_face(root, shape):
    """Parts drawn at the key points of tilted faces of many sizes lie, aligned, all in one place."""
    size = 120
    points = read_key_points(root / "points.csv")
    target = np.array(shape) if shape else mean_shape(np.stack([points[name] for name in HELEN["exemplars"]]), size)
    for split, names in HELEN.items():
        data = Helen(root, split, size=size, points=root / "points.csv", shape=shape)
        for index in range(len(names)):
            label = data[index].label
            for part, place in zip(PARTS, target, strict=True):
                middle = np.argwhere(label == part).mean(axis=0)[::-1]
                assert np.hypot(*(middle - place)) < 0.6, (split, part)


def test_image_and_label_move_together_and_beyond_them_is_black_and_void(root):
    """Where the image is bright the label is skin: still so after alignment."""
    bright = np.zeros((70, 90), np.uint8)
    bright[10:50, 20:70] = 255
    Image.fromarray(bright).convert("RGB").save(root / "images" / f"{NAME}.jpg", quality=100)
    for index in range(11):
        soft = {0: 255 - bright, 1: bright}.get(index, np.zeros_like(bright))
        save_label(root / "labels" / NAME / f"{NAME}_lbl{index:02d}.png", soft)
    points = read_key_points(root / "points.csv")
    example = Helen(root, "exemplars", size=128, points=root / "points.csv")[0]
    target = mean_shape(np.stack([points[name] for name in HELEN["exemplars"]]), 128)
    beyond = outside((70, 90), similarity(points[NAME], target), 128)
    assert beyond.any()
    np.testing.assert_array_equal(example.label == VOID, beyond)
    assert (example.image[beyond] == 0).all()
    inside = ~beyond
    agree = (example.image[..., 1] > 127)[inside] == (example.label == 1)[inside]
    assert agree.mean() > 0.995
    assert 0.2 < (example.label[inside] == 1).mean() < 0.8


def test_unaligned_images_are_cut_or_padded_around_their_middle(root):
    whole = Helen(root, "exemplars", size=None)[0]
    assert whole.label.shape == (70, 90)
    assert VOID not in whole.label
    cut = helen(root=str(root), align=False, size=60).train[0]
    np.testing.assert_array_equal(cut.label, whole.label[5:65, 15:75])
    np.testing.assert_array_equal(cut.image, whole.image[5:65, 15:75])
    padded = helen(root=str(root), align=False, size=100).train[0]
    np.testing.assert_array_equal(padded.label[15:85, 5:95], whole.label)
    assert (padded.label == VOID).sum() == 100 * 100 - 70 * 90


def test_the_usual_size(root):
    example = Helen(root, "testing", points=root / "points.csv")[0]
    assert example.image.shape == (1024, 1024, 3)
    assert example.label.shape == (1024, 1024)


def test_coarse_maps(root, tmp_path):
    (tmp_path / "coarse" / "tuning").mkdir(parents=True)
    np.savez(tmp_path / "coarse" / "tuning" / f"{HELEN['tuning'][0]}.npz", probs=np.zeros((11, 8, 8), np.uint8))
    assert Helen(root, "tuning", size=64, coarse=tmp_path / "coarse")[0].coarse.shape == (11, 8, 8)


# What is wrong is named


def test_without_key_points_their_format_is_told(root):
    with pytest.raises(ValueError, match=r"data\.points=FILE.*name,left_eye_x,.*right_mouth_y.*data\.align=false"):
        helen(root=str(root))


def test_key_points_of_every_image_are_needed(root):
    lines = (root / "points.csv").read_text().splitlines()
    (root / "points.csv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(ValueError, match=rf"points\.csv has no key points for '{HELEN['testing'][0]}' and 0 other"):
        helen(root=str(root), points=str(root / "points.csv"))
    (root / "points.csv").write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    with pytest.raises(ValueError, match=f"no key points for '{NAME}'"):  # the mean face needs all exemplars
        Helen(root, "testing", points=root / "points.csv")
    Helen(root, "testing", points=root / "points.csv", shape=FACE.tolist())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"size": 0}, "at least 1 pixel"),
        ({"size": None, "points": "points.csv"}, "need the side of their square"),
        ({"points": "points.csv", "shape": [[1, 2]]}, r"5 points \(x, y\): left_eye, right_eye, nose"),
    ],
)
def test_settings_that_make_no_sense(root, settings, words):
    if "points" in settings:
        settings = {**settings, "points": root / settings["points"]}
    with pytest.raises(ValueError, match=words):
        Helen(root, "exemplars", **settings)


def test_missing_and_broken_files(root):
    with pytest.raises(ValueError, match="exemplars, tuning, testing; got 'train'"):
        Helen(root, "train")
    soft = root / "labels" / NAME / f"{NAME}_lbl07.png"
    save_label(soft, np.zeros((70, 89), np.uint8))
    with pytest.raises(ValueError, match=rf"{NAME}_lbl07\.png is 89x70 but .*_lbl00\.png is 90x70"):
        Helen(root, "exemplars")[0]
    soft.write_bytes(soft.read_bytes()[:30])
    with pytest.raises(ValueError, match=rf"{NAME}_lbl07\.png cannot be read as a label map"):
        Helen(root, "exemplars")[0]
    soft.unlink()
    with pytest.raises(FileNotFoundError, match=rf"{NAME}_lbl07\.png does not exist"):
        Helen(root, "exemplars")
    (root / "tuning.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"tuning\.txt does not exist; data\.root must hold exemplars\.txt"):
        Helen(root, "tuning")


def test_label_maps_of_another_size_than_the_image(root):
    for index in range(11):
        save_label(root / "labels" / NAME / f"{NAME}_lbl{index:02d}.png", np.zeros((70, 91), np.uint8))
    with pytest.raises(ValueError, match=rf"labels/{NAME} is 91x70 but its image .* is 90x70"):
        Helen(root, "exemplars")[0]
