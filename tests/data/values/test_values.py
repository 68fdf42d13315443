"""Composed mattes, hints on photographs, and what makes batches of them."""

import numpy as np
import pytest
import torch
from PIL import Image

from spatialprop.data import colorize, matting
from spatialprop.data.loading.samples import SampleKey
from spatialprop.data.values import Photographs
from spatialprop.data.values.colours import points, random_hints
from spatialprop.data.values.loading import ValueModule
from spatialprop.data.values.mattes import KINDS, Foreground, compose, trimap_of
from spatialprop.data.values.matting import read_alpha
from spatialprop.yuv import join_colours, split_colours

SMALL = {"train": 8, "val": 2, "test": 2, "patch": 48, "size": (40, 56), "seed": 0}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Forty small photographs."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for index in range(40):
        coarse = rng.integers(0, 255, (5, 7, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((90, 70), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return str(folder)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_foreground_has_an_alpha_and_a_trimap_that_is_true(kind):
    rng = np.random.default_rng(3)
    texture = rng.integers(0, 255, (64, 80, 3), dtype=np.uint8)
    spread = []
    for _ in range(4):
        alpha, colours = kind(texture, rng)
        alpha = np.clip(alpha, 0, 1)
        spread.append(np.ptp(alpha))
        assert alpha.shape == (64, 80)
        assert colours.shape == (64, 80, 3)
        assert np.isfinite(colours).all()
        trimap = trimap_of(alpha.astype(np.float32), rng)
        assert set(np.unique(trimap)) <= {0, 128, 255}
        assert (alpha[trimap == 255] > 0.99).all()
        assert (alpha[trimap == 0] < 0.01).all()
    assert max(spread) > 0.5


def test_a_composition_shows_both_by_alpha():
    rng = np.random.default_rng(0)
    alpha = np.zeros((20, 30), np.float32)
    alpha[:, 15:], alpha[:, 10:15] = 1, 0.5
    red, blue = np.full((20, 30, 3), (250, 0, 0), np.float32), np.full((20, 30, 3), (0, 0, 250), np.uint8)
    colours = {tuple(compose(blue, Foreground(alpha, red), rng, effects=False)[10, 12]) for _ in range(5)}
    assert (125, 0, 125) in colours


@pytest.mark.parametrize("make", [matting, lambda **options: colorize(hints=(5, 20), **options)])
def test_patches_depend_on_the_generator_and_images_on_their_index_alone(make):
    first, second = make(**SMALL), make(**SMALL)
    one, same = (splits.train.draw(np.random.default_rng(4)) for splits in (first, second))
    other = first.train.draw(np.random.default_rng(5))
    assert all(np.array_equal(a, b) for a, b in zip(one[1:5], same[1:5], strict=True))
    assert not np.array_equal(one.truth, other.truth)
    second.val[0]
    assert all(np.array_equal(a, b) for a, b in zip(first.val[1][1:5], second.val[1][1:5], strict=True))
    assert not np.array_equal(first.val[0].truth, first.test[0].truth)


@pytest.mark.parametrize("make", [matting, lambda **options: colorize(hints=(5, 20), **options)])
def test_known_values_are_true(make):
    splits = make(**SMALL)
    for example in (splits.train.draw(np.random.default_rng(0)), splits.val[0], splits.test[1]):
        known = np.broadcast_to(example.confidence == 1, example.truth.shape)
        assert known.any()
        assert not known.all()
        np.testing.assert_allclose(example.values[known], example.truth[known], atol=0.01)
        assert {array.dtype for array in example[1:5]} == {np.dtype(np.float32)}


def test_held_out_photographs_are_never_trained_on(photographs):
    kept, held = (set(Photographs([photographs], held_out=out).paths) for out in (False, True))
    assert kept
    assert held
    assert not kept & held
    assert len(kept | held) == 40
    assert Photographs([photographs]).piece(np.random.default_rng(0), (200, 30)).shape == (200, 30, 3)


def test_a_folder_is_tested_on_as_it_is(tmp_path):
    for name in ("images", "trimaps", "alphas"):
        (tmp_path / name).mkdir()
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    trimap = np.zeros((20, 30), np.uint8)
    trimap[5:15, 5:25], trimap[8:12, 8:20] = 127, 254
    alpha = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    Image.fromarray(image).save(tmp_path / "images" / "cat.png")
    Image.fromarray(trimap).save(tmp_path / "trimaps" / "cat.png")
    Image.fromarray(alpha).save(tmp_path / "alphas" / "cat.png")
    example = matting(**SMALL, root=str(tmp_path)).test[0]
    assert example.name == "cat"
    assert example.confidence[0, 10, 10] == example.values[0, 10, 10] == 1
    assert example.confidence[0, 6, 6] == 0
    np.testing.assert_allclose(example.truth[0], alpha / 65535, atol=1e-6)
    Image.fromarray(trimap[:-1]).save(tmp_path / "trimaps" / "cat.png")
    with pytest.raises(ValueError, match="has 30x19 pixels, its image 30x20"):
        matting(**SMALL, root=str(tmp_path)).test[0]


@pytest.mark.parametrize("rgba", [False, True])
def test_cut_outs_of_a_folder_are_trained_on(tmp_path, rgba):
    (tmp_path / "images").mkdir()
    image = np.full((80, 90, 3), (255, 0, 0), np.uint8)
    alpha = np.zeros((80, 90), np.uint8)
    alpha[:, 45:] = 255
    if rgba:
        Image.fromarray(np.dstack([image, alpha])).save(tmp_path / "images" / "red.png")
    else:
        (tmp_path / "alphas").mkdir()
        Image.fromarray(image).save(tmp_path / "images" / "red.png")
        Image.fromarray(alpha).save(tmp_path / "alphas" / "red.png")
    foreground = matting(**SMALL, cut_outs=str(tmp_path)).train.cut_outs.piece(np.random.default_rng(0), (48, 48))
    assert foreground.alpha.min() == 0
    assert foreground.alpha.max() == 1
    np.testing.assert_allclose(foreground.colours, np.broadcast_to((255, 0, 0), (48, 48, 3)), atol=1)


def test_hints_are_as_many_as_asked_for():
    rng = np.random.default_rng(0)
    assert points(400, 500, 1, 3, rng).sum() in (4, 6, 9)
    assert 85 <= points(400, 500, 100, 1, rng).sum() <= 100
    colours = split_colours(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))[1]
    counts = [random_hints(colours, rng).sum() for _ in range(40)]
    assert min(counts) >= 1
    assert max(counts) > 10 * min(counts)


def test_photographs_to_test_on_have_every_number_of_hints(photographs, tmp_path):
    splits = colorize(**SMALL, root=photographs, hints=(5, 20))
    assert splits.test.names[:3] == ["0_5", "0_20", "1_5"]
    few, many = splits.test[0], splits.test[1]
    assert (few.group, many.group) == ("5", "20")
    assert few.confidence.sum() < many.confidence.sum()
    joined = join_colours(few.image[0], few.truth)
    assert np.abs(joined.astype(int) - np.asarray(Image.open(f"{photographs}/0.png"))).max() <= 2
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(tmp_path / "grey.png")
    with pytest.raises(ValueError, match="grey is a grey picture"):
        colorize(**SMALL, root=str(tmp_path), hints=(5,)).test[0]


def test_batches_hold_everything():
    splits = colorize(**SMALL, hints=(5, 20))
    module = ValueModule(splits, seed=1, batch_size=3)
    batch = next(iter(module.train_dataloader()))
    assert batch["image"].shape == (3, 1, 48, 48)
    assert batch["truth"].shape == batch["values"].shape == (3, 2, 48, 48)
    again = module.training[SampleKey(0, 4)]
    assert torch.equal(again["truth"], module.training[SampleKey(0, 4)]["truth"])
    assert not torch.equal(again["truth"], module.training[SampleKey(1, 4)]["truth"])
    assert [batch["group"] for batch in module.test_dataloader()] == [["5"], ["20"], ["5"], ["20"]]


@pytest.mark.parametrize(
    ("make", "options", "error", "message"),
    [
        (matting, {"val": 0}, ValueError, "data.val must be at least 1"),
        (matting, {"root": "nowhere"}, FileNotFoundError, "holds images/, trimaps/ and alphas/"),
        (matting, {"photographs": "folder"}, ValueError, r"must be a list of folders; got 'folder': write \[folder\]"),
        (matting, {"photographs": ["nowhere"]}, FileNotFoundError, "nowhere is no folder of photographs"),
        (colorize, {"hints": ()}, ValueError, "data.hints must be numbers of hints"),
        (colorize, {"hints": (5,), "root": "nowhere"}, FileNotFoundError, "data.root=nowhere is no folder"),
    ],
)
def test_wrong_settings_are_named(make, options, error, message):
    with pytest.raises(error, match=message):
        make(**{**SMALL, **options})


def test_alphas_are_read_as_every_picture_is(tmp_path):
    alpha = np.random.default_rng(0).integers(0, 256, (20, 30), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.fromarray(alpha).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_allclose(read_alpha(tmp_path / "a.png", (30, 20)), np.rot90(alpha, -1) / 255, atol=1e-6)
    Image.fromarray(alpha).save(tmp_path / "gif.png", format="GIF")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:300])
    for name in ("gif.png", "cut.png"):
        with pytest.raises(ValueError, match=f"{name} cannot be read as an alpha map"):
            read_alpha(tmp_path / name, (30, 20))
