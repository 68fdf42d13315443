"""Mattes and colours as users call them: what comes out, and what wrong input is told."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from spatialprop import Colorize, Matte, Refiner
from spatialprop.cli import main
from spatialprop.nn import ValueNetwork
from spatialprop.nn.guidance import LightGuidance, ResidualGuidance
from spatialprop.values import (
    InputError,
    estimate_foreground,
    load_values,
    packaged,
    read_scribbles,
    save_values,
    scribbled,
    tiles,
)
from spatialprop.values.weights import PACKAGE
from spatialprop.yuv import join_colours, split_colours

LIGHT = PACKAGE.parent / "light.safetensors"  # a refiner's
COLOURS = {"channels": 2, "image_channels": 1, "bounds": (-0.5, 0.5)}


def network(**options):
    torch.manual_seed(0)
    guidance = partial(ResidualGuidance, widths=(8, 8, 8), depths=(0, 1, 1))
    return ValueNetwork(guidance, **{"channels": 1, "proposals": True, "windows": (8, 24), **options})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A photograph, its trimap, a grey picture, scribbles, and weights of both kinds."""
    folder = tmp_path_factory.mktemp("values")
    image, trimap = scene()
    Image.fromarray(image).save(folder / "photo.png")
    Image.fromarray(trimap).save(folder / "trimap.png")
    grey = np.rint(split_colours(image)[0] * 255).astype(np.uint8)
    Image.fromarray(grey).save(folder / "grey.png")
    Image.fromarray(strokes(grey)).save(folder / "scribbles.png")
    save_values(network(), folder / "matte.safetensors", "a matte")
    save_values(network(**COLOURS), folder / "colour.safetensors", "colours")
    return folder


def scene(height=45, width=62):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
    trimap = np.zeros((height, width), np.uint8)
    trimap[8:38, 10:50], trimap[16:30, 20:40] = 128, 255
    return image, trimap


def strokes(grey):
    marked = np.repeat(grey[..., None], 3, axis=2)
    marked[5:8, 4:30] = 210, 40, 60
    marked[30:33, 30:60] = 30, 90, 200
    return marked


@pytest.mark.parametrize("made", [network(), network(**COLOURS), ValueNetwork(LightGuidance, channels=1)])
def test_weights_survive_a_file(tmp_path, made):
    made = made.eval()
    save_values(made, tmp_path / "mine.safetensors", "mine")
    kind = "matte" if made.channels == 1 else "colour"
    loaded, description = load_values(tmp_path / "mine.safetensors", kind)
    image, values = torch.rand(1, made.image_channels, 20, 30), torch.zeros(1, made.channels, 20, 30)
    confidence = (torch.rand(1, 1, 20, 30) < 0.2).float()
    with torch.no_grad():
        assert torch.equal(loaded.eval()(image, values, confidence), made(image, values, confidence))
    assert description == "mine"


def test_matte_keeps_what_the_trimap_knows(files):
    image, trimap = scene()
    alpha = Matte.load(files / "matte.safetensors")(image, trimap)
    assert alpha.dtype == np.float32
    assert (alpha[trimap == 255] == 1).all()
    assert (alpha[trimap == 0] == 0).all()
    assert alpha.min() >= 0
    assert alpha.max() <= 1


def test_all_kinds_of_image_and_trimap_mean_the_same(files):
    image, trimap = scene()
    matte = Matte.load(files / "matte.safetensors")
    alpha = matte(image, trimap)
    for same in (Image.fromarray(image), torch.from_numpy(image).permute(2, 0, 1), image.astype(np.uint16) * 257):
        np.testing.assert_allclose(matte(same, trimap), alpha, atol=1e-6)
    for same in (trimap.astype(np.uint16) * 257, trimap / 255):
        np.testing.assert_array_equal(matte(image, same), alpha)


def test_matte_from_a_mask(files):
    image, trimap = scene()
    mask = trimap > 0
    alpha = Matte.load(files / "matte.safetensors").from_mask(image, mask, band=5)
    assert (alpha[14:32, 16:44] == 1).all()
    assert (alpha[:2] == 0).all()
    for other in (mask.astype(np.uint8), mask.astype(np.uint8) * 255, mask.astype(np.float32)):
        np.testing.assert_array_equal(Matte.load(files / "matte.safetensors").from_mask(image, other, band=5), alpha)


def test_colours_keep_brightness(files):
    image, _ = scene()
    grey = np.rint(split_colours(image)[0] * 255).astype(np.uint8)
    marked = strokes(grey)
    coloured = Colorize.load(files / "colour.safetensors")(grey, marked)
    inside = (coloured > 0).all(axis=2) & (coloured < 255).all(axis=2)
    np.testing.assert_allclose(split_colours(coloured)[0][inside] * 255, grey[inside], atol=1)
    layer = np.dstack([marked, np.where((marked != grey[..., None]).any(axis=2), 255, 0).astype(np.uint8)])
    np.testing.assert_array_equal(Colorize.load(files / "colour.safetensors")(grey, layer), coloured)


def test_tiles_change_little_and_no_known_pixel(monkeypatch):
    """Beyond the margin a tile sees nothing; this small network looks less far than that.

    Windows of local lines lie a little differently in a tile.
    """
    made = network().eval()
    image, values = torch.rand(1, 3, 150, 170), torch.rand(1, 1, 150, 170)
    confidence = (torch.rand(1, 1, 150, 170) < 0.3).float()
    with torch.no_grad():
        whole = made(image, values, confidence)
        monkeypatch.setattr(tiles, "TILE", 64)
        monkeypatch.setattr(tiles, "MARGIN", 48)
        apart = made.spread(values, confidence, tiles.guide_in_tiles(made, image, values, confidence))
    torch.testing.assert_close(apart, whole, atol=5e-3, rtol=0)


def test_colours_of_a_foreground_are_found_below_what_shines_through():
    alpha = np.zeros((40, 60))
    alpha[:, 20:40], alpha[:, 40:] = np.linspace(0, 1, 20), 1
    fore, back = np.array([200.0, 60, 40]), np.array([20.0, 120, 220])
    image = np.rint(alpha[..., None] * fore + (1 - alpha[..., None]) * back).astype(np.uint8)
    found = estimate_foreground(image, alpha)[:, 26:]
    assert np.abs(found - fore).max() < 25  # what shines through differs by up to 180


def test_yuv_and_back():
    rgb = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    np.testing.assert_array_equal(join_colours(*split_colours(rgb)), rgb)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda image, trimap: (image, np.minimum(trimap, 128)), "holds no known foreground: paint"),
        (lambda image, trimap: (image, np.maximum(trimap, 128)), "holds no known background: paint"),
        (lambda image, trimap: (image, trimap[:-1]), "must have one size; got 62x45 and 62x44"),
        (lambda image, trimap: (image, image), r"a trimap is \(H, W\)"),
        (lambda image, trimap: (image, -trimap.astype(int)), "goes from 0 to 255; got -255"),
        (lambda image, trimap: (image, trimap * 2.0), "floats goes from 0 to 1"),
        (lambda image, trimap: (image[..., :2], trimap), "an image array must be"),
        (lambda image, trimap: (image[:1, :1], trimap[:1, :1]), "holds no known foreground"),
    ],
)
def test_mattes_of_bad_input(change, message):
    with pytest.raises(InputError, match=message):
        Matte(network())(*change(*scene()))


def test_a_band_that_leaves_nothing_is_refused():
    image, trimap = scene()
    with pytest.raises(InputError, match="nothing inside the mask is further than 30 pixels"):
        Matte(network()).from_mask(image, trimap > 0, band=30)


@pytest.mark.parametrize(
    ("marks", "message"),
    [
        (lambda grey: np.repeat(grey[..., None], 3, axis=2), "hold no color|hold no colour"),
        (lambda grey: strokes(grey)[:-1], "must have one size; got 62x45 and 62x44"),
        (lambda grey: grey, "must be"),
        (lambda grey: strokes(grey).astype(np.uint16), "of 8 bits"),
        (lambda grey: np.dstack([strokes(grey), np.zeros_like(grey)]), "hold no colour"),
    ],
)
def test_scribbles_of_bad_input(marks, message):
    grey = np.rint(split_colours(scene()[0])[0] * 255).astype(np.uint8)
    with pytest.raises(InputError, match=message):
        scribbled(grey, marks(grey))


def test_scribbles_survive_noise_of_compression():
    grey = np.full((30, 40), 120, np.uint8)
    marked = strokes(grey)[:30, :40]
    noisy = np.clip(marked.astype(int) + np.random.default_rng(0).integers(-4, 5, marked.shape), 0, 255)
    _, where = scribbled(grey, noisy.astype(np.uint8))
    np.testing.assert_array_equal(where, (marked != 120).any(axis=2))


def test_weights_of_another_kind_are_refused(files):
    with pytest.raises(InputError, match="of the kind 'colour', not 'matte'"):
        Matte.load(files / "colour.safetensors")
    with pytest.raises(InputError, match="these are weights of a refiner"):
        Matte.load(LIGHT)
    with pytest.raises(InputError, match="no weights are called 'nothing'"):
        Matte.load("nothing")
    with pytest.raises(InputError):
        Refiner.load(files / "matte.safetensors")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"guidance": {"name": "residual", "widths": [8, 8, 8], "depths": [0, 1]}}, "as many widths as depths"),
        ({"guidance": {"name": "residual", "widths": [8, 1e9], "depths": [0, 1]}}, "2 to 7 whole numbers from 1"),
        ({"guidance": {"name": "vgg16"}}, "must be residual, light or unet"),
        ({"units": 99}, "network.units must be a whole number from 1 to 8"),
        ({"normalization": "clamp"}, "network.normalization must be one of"),
        ({"windows": [8, 1]}, "network.windows must be at most 8 whole numbers"),
        ({"surprise": 1}, "network.surprise is not known"),
    ],
)
def test_every_setting_of_a_file_is_checked(files, tmp_path, settings, message):
    from safetensors import safe_open

    with safe_open(files / "matte.safetensors", "pt") as file:
        header = json.loads(file.metadata()["spatialprop"])
    header["network"] |= settings
    save_file(load_file(files / "matte.safetensors"), tmp_path / "bad.safetensors", {"spatialprop": json.dumps(header)})
    with pytest.raises(InputError, match=message):
        Matte.load(tmp_path / "bad.safetensors")


@pytest.mark.parametrize("name", packaged())
def test_packaged_weights_load_and_have_a_card(name):
    made = (Matte if name == "matte" else Colorize).load(name)
    assert made.description
    card = (PACKAGE / f"{name}.md").read_text()
    assert "## Trained on" in card
    assert "## Terms" in card


def test_matte_command(files, tmp_path, capsys):
    words = ["matte", files / "photo.png", files / "trimap.png", "-o", tmp_path / "a" / "alpha.png"]
    words += ["--cut-out", tmp_path / "a" / "cut.png", "--weights", files / "matte.safetensors"]
    assert main([str(word) for word in words]) == 0
    alpha = np.asarray(Image.open(tmp_path / "a" / "alpha.png"))
    cut = np.asarray(Image.open(tmp_path / "a" / "cut.png"))
    assert alpha.shape == (45, 62)
    assert cut.shape == (45, 62, 4)
    np.testing.assert_array_equal(cut[..., 3], alpha)
    assert "% foreground" in capsys.readouterr().out


def test_matte_command_from_a_mask(files, tmp_path):
    Image.fromarray((scene()[1] > 0).astype(np.uint8) * 255).save(tmp_path / "mask.png")
    words = ["matte", files / "photo.png", tmp_path / "mask.png", "--band", 4, "--weights", files / "matte.safetensors"]
    assert main([str(word) for word in words]) == 0
    assert (tmp_path / "photo_alpha.png").is_file()


def test_colorize_command(files, tmp_path, capsys):
    words = ["colorize", files / "grey.png", files / "scribbles.png", "-o", tmp_path / "out.png"]
    assert main([str(word) for word in (*words, "--weights", files / "colour.safetensors")]) == 0
    assert np.asarray(Image.open(tmp_path / "out.png")).shape == (45, 62, 3)
    assert "coloured from" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["matte", "photo.png", "photo.png"], "it holds colours; a trimap is a grey picture"),
        (["matte", "photo.png", "trimap.png", "-o", "photo.png"], "would replace an input"),
        (["matte", "photo.png", "trimap.png", "-o", "alpha.jpg"], "a picture is written as"),
        (["matte", "photo.png", "missing.png"], "missing.png does not exist"),
        (["matte", "photo.png", "trimap.png", "--band", "0"], "--band must be at least 1"),
        (["colorize", "grey.png", "grey.png", "-o", "out.png"], "hold no colour"),
        (["colorize", "grey.png", "scribbles.png", "--weights", "matte.safetensors"], "of the kind 'matte'"),
    ],
)
def test_commands_of_bad_input_write_nothing(files, monkeypatch, capsys, words, message):
    monkeypatch.chdir(files)
    before = sorted(files.iterdir())
    weights = (
        [] if "--weights" in words else ["--weights", f"{'matte' if words[0] == 'matte' else 'colour'}.safetensors"]
    )
    assert main([*words, *weights]) == 2
    assert message in capsys.readouterr().err
    assert sorted(files.iterdir()) == before


def test_tensors_with_gradients_are_taken():
    image, trimap = scene()
    given = torch.from_numpy(trimap / np.float32(255)).requires_grad_()
    matte, colorize = Matte(network()), Colorize(network(**COLOURS))
    np.testing.assert_array_equal(matte(image, given), matte(image, trimap))
    np.testing.assert_array_equal(matte.from_mask(image, given, 5), matte.from_mask(image, trimap / 255, 5))
    grey = np.rint(split_colours(image)[0] * 255).astype(np.uint8)
    marks = strokes(grey)
    np.testing.assert_array_equal(colorize(grey, torch.from_numpy(marks)), colorize(grey, marks))
    with pytest.raises(InputError, match="of 8 bits"):
        colorize(grey, torch.from_numpy(marks / 255.0).requires_grad_())


def test_what_does_not_fit_into_memory_is_refused_before_it_is_tried(monkeypatch):
    image, trimap = scene()
    asked = (lambda: Matte(network())(image, trimap), lambda: Colorize(network(**COLOURS))(image[..., 0], image))
    monkeypatch.setattr("spatialprop.memory.memory_left", lambda: 210 * trimap.size)
    for ask in asked:
        ask()
    monkeypatch.setattr("spatialprop.memory.memory_left", lambda: 190 * trimap.size)
    for ask in asked:
        with pytest.raises(InputError, match=r"needs about .* GB of memory, .* make it smaller"):
            ask()


def test_tensors_of_every_kind_are_taken_or_refused():
    image, trimap = scene()
    given = torch.from_numpy(trimap)
    matte, grey = Matte(network()), image[..., 0]
    for same in ((given / 255).bfloat16(), torch._neg_view(given.float() / -255)):
        np.testing.assert_array_equal(matte(image, same), matte(image, trimap))
    for other in (given.to("meta"), given.to_sparse()):
        for refused in (
            lambda other=other: matte(image, other),
            lambda other=other: matte.from_mask(image, other),
            lambda other=other: Colorize(network(**COLOURS))(grey, other),
        ):
            with pytest.raises(InputError, match="must be a dense tensor with values; got a"):
                refused()


@pytest.mark.parametrize("shape", [(0, 32), (32, 0), (0, 0), (4, 4, 1)])
def test_a_mask_without_pixels_is_refused(shape):
    with pytest.raises(InputError, match="of a pixel or more"):
        Matte(network()).from_mask(scene()[0], np.zeros(shape, bool))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_mask_of_numbers_that_are_none_is_refused(value):
    image, trimap = scene()
    mask = trimap.astype(np.float32)
    mask[3, 3] = value
    with pytest.raises(InputError, match="holds finite numbers"):
        Matte(network()).from_mask(image, mask)


def test_a_band_wider_than_the_image_leaves_nothing_known():
    image, trimap = scene()
    for band in (1 << 12, 1 << 70):
        with pytest.raises(InputError, match="take a narrower band"):
            Matte(network()).from_mask(image, trimap == 255, band)


def test_a_layer_of_scribbles_is_turned_as_it_says(tmp_path):
    layer = np.zeros((20, 30, 4), np.uint8)
    layer[2:5, 3:9] = 200, 10, 10, 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.fromarray(layer).save(tmp_path / "layer.png", exif=exif)
    found = read_scribbles(tmp_path / "layer.png")
    assert found.shape == (30, 20, 4)
    np.testing.assert_array_equal(found, np.rot90(layer, -1))
    with pytest.raises(InputError, match="at most 99 are read"):
        read_scribbles(tmp_path / "layer.png", 99)
