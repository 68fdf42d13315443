"""Files that people have are read as what they are, and results come in the same kind."""

import io
import os
import re
import struct
import warnings
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

import spatialprop
from spatialprop.drawing import class_colours
from spatialprop.errors import InputError
from spatialprop.maskfiles import Palette, read_coarse, read_image, read_image_size, read_indices, read_palette
from spatialprop.maskfiles.pictures import is_lossy, write_picture
from tests.maskfiles.refined import Unchanged
from tests.refiner.networks import errors_that_name, photograph, probabilities

COLOURS = class_colours()
LABELS = np.zeros((12, 16), np.uint8)
LABELS[3:9, 4:12] = 1
LABELS[5:7, 6:9] = 4
MASK = LABELS > 0
ALPHA = np.clip(np.add.outer(np.arange(12) * 8, np.arange(16) * 12) - 5, 0, 255).astype(np.uint8)


# Images


def test_threads_that_read_leave_the_settings_of_the_program_alone(tmp_path):
    for place in range(4):
        write_picture(tmp_path / f"{place}.png", photograph(16, 16))
    before = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda place: read_image(tmp_path / f"{place % 4}.png"), range(200)))
    assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == before


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".webp", ".jpg", ".JPEG"])
def test_images_of_all_formats(tmp_path, suffix):
    smooth = np.asarray(Image.fromarray(photograph(4, 4)).resize((32, 24), Image.Resampling.BICUBIC))
    Image.fromarray(smooth).save(
        tmp_path / f"a{suffix}", **({"quality": 98} if suffix in (".jpg", ".JPEG", ".webp") else {})
    )
    found = read_image(tmp_path / f"a{suffix}")
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - smooth).mean() < 6


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_images_of_all_modes(tmp_path, mode):
    grey = np.tile(np.linspace(0, 255, 16).round().astype(np.uint8), (12, 1))
    if mode == "I;16":
        Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "a.png")
    else:
        Image.fromarray(grey).convert("RGB").convert(mode).save(tmp_path / ("a.tif" if mode == "CMYK" else "a.png"))
    (path,) = tmp_path.iterdir()
    found = read_image(path)
    assert found.shape == (12, 16, 3)
    if mode not in ("1", "P"):
        np.testing.assert_array_equal(found, grey[..., None].repeat(3, 2))


def test_transparency_of_a_palette_is_no_matter(tmp_path):
    picture = Image.fromarray(LABELS).convert("P")
    picture.save(tmp_path / "a.png", transparency=bytes([0, 128, 255]))
    assert read_image(tmp_path / "a.png").shape == (12, 16, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_honoured(tmp_path, orientation):
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:8, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, quality=100)
    found = read_image(tmp_path / "a.jpg")
    assert read_image_size(tmp_path / "a.jpg") == found.shape[:2]
    upright = {
        1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1], 5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels, -1), 7: np.rot90(pixels, 2).swapaxes(0, 1), 8: np.rot90(pixels),
    }[orientation]  # fmt: skip
    assert found.shape == upright.shape
    assert np.abs(found.astype(int) - upright).mean() < 2


def test_images_that_cannot_be_used(tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(np.full((4, 4), 1e6, np.float32)).save(path)
    with pytest.raises(InputError, match=r"a.tif: an image of mode 'F' must hold values from 0 to 1; got"):
        read_image(path)
    Image.fromarray(np.full((4, 4), -5, np.int32)).save(path)
    with pytest.raises(InputError, match="from 0 to 65535; got values from -5"):
        read_image(path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_image(tmp_path / "b.png")


@pytest.mark.parametrize("kind", ["PPM", "GIF", "EPS"])
def test_formats_beyond_the_documented_ones_are_not_opened(tmp_path, kind):
    Image.fromarray(photograph(12, 16)).save(tmp_path / "photo.png", format=kind)
    for read in (read_image, read_image_size, read_indices, read_coarse):
        with pytest.raises(InputError, match=r"photo\.png cannot be read as .*: it is damaged, or none of JPEG, PNG"):
            read(tmp_path / "photo.png")


def test_bombs_are_refused(tmp_path):
    Image.new("1", (20000, 20000)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 100_000
    for read in (read_image, read_coarse):
        with pytest.raises(InputError, match=r"20000x20000 pixels and at most 268435456 are read.*--most-pixels"):
            read(tmp_path / "bomb.png")
    Image.new("L", (11, 10)).save(tmp_path / "small.png")
    with pytest.raises(InputError, match="at most 100"):
        read_image(tmp_path / "small.png", 100)


# Coarse maps: what they are read as, and that they come back


def back(tmp_path, path, refined=None, suffix=None, **reading):
    """Read a file, and write its own content to another one."""
    coarse = read_coarse(path, **reading)
    target = tmp_path / f"result{suffix or coarse.suffix(path)}"
    coarse.write(target, Unchanged(coarse.values if refined is None else refined))
    return coarse, target


def pixels(path):
    with Image.open(path) as image:
        return image.mode, np.asarray(image).copy(), image.getpalette()


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
@pytest.mark.parametrize("mode", ["L", "P"])
def test_labels(tmp_path, suffix, mode):
    picture = Image.fromarray(LABELS)
    if mode == "P":
        picture.putpalette(COLOURS[::-1].tobytes())  # not those that it would get if it had none
    picture.save(tmp_path / f"a{suffix}")
    coarse, result = back(tmp_path, tmp_path / f"a{suffix}")
    assert coarse.kind == "labels"
    np.testing.assert_array_equal(coarse.values, LABELS)
    before, after = pixels(tmp_path / f"a{suffix}"), pixels(result)
    assert before[0] == after[0]
    np.testing.assert_array_equal(before[1], after[1])
    assert before[2] == after[2]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_labels_of_16_bits(tmp_path, suffix):
    deep = LABELS.astype(np.uint16) * 1000
    Image.fromarray(deep).save(tmp_path / f"a{suffix}")
    coarse, result = back(tmp_path, tmp_path / f"a{suffix}")
    assert coarse.kind == "labels"
    np.testing.assert_array_equal(pixels(result)[1], deep)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".bmp"])
@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_masks(tmp_path, suffix, mode):
    picture = Image.fromarray(MASK.astype(np.uint8) * 255).convert(mode)
    picture.save(tmp_path / f"a{suffix}", **({"lossless": True} if suffix == ".webp" else {}))
    coarse, result = back(tmp_path, tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(coarse.values, MASK)
    before, after = pixels(tmp_path / f"a{suffix}"), pixels(result)
    assert before[0] == after[0]
    np.testing.assert_array_equal(before[1], after[1])


def test_masks_in_jpeg_become_soft(tmp_path):
    Image.fromarray(np.kron(MASK, np.ones((8, 8))).astype(np.uint8) * 255).save(tmp_path / "a.jpg", quality=60)
    coarse = read_coarse(tmp_path / "a.jpg", "mask")
    np.testing.assert_array_equal(coarse.values, np.kron(MASK, np.ones((8, 8))))
    assert coarse.suffix(tmp_path / "a.jpg") == ".png"


def in_chunks(content):
    """A WebP with one more chunk of an odd length before what Pillow wrote, as a VP8X file may have it."""
    head = b"VP8X" + (10).to_bytes(4, "little") + bytes([0, 0, 0, 0, 127, 0, 0, 95, 0, 0])
    odd = b"HINT" + (3).to_bytes(4, "little") + b"VP8 "
    content = head + odd + content[12:]
    return b"RIFF" + (len(content) + 4).to_bytes(4, "little") + b"WEBP" + content


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("wrapped", ["plain", "with metadata", "in chunks", "animated"])
def test_lossy_webp_is_read_as_jpeg_is(tmp_path, lossless, wrapped):
    path = tmp_path / "a.webp"
    mask = np.kron(MASK, np.ones((8, 8))).astype(np.uint8) * 255
    picture = Image.fromarray(mask).convert("RGB")
    more = {
        "with metadata": {"icc_profile": bytes(131)},
        "animated": {"save_all": True, "append_images": [picture.rotate(180)]},
    }
    picture.save(path, lossless=lossless, quality=60, **more.get(wrapped, {}))
    if wrapped == "in chunks":
        path.write_bytes(in_chunks(path.read_bytes()))
    coarse, result = back(tmp_path, path)
    assert coarse.kind == ("colours" if lossless else "alpha")
    found = coarse.values if lossless else coarse.values[1] > 0.5
    np.testing.assert_array_equal(found, mask > 0)
    assert np.abs(pixels(result)[1].astype(int)[..., 0] - pixels(path)[1][..., 0]).max() <= 1
    np.testing.assert_array_equal(read_coarse(path, "mask").values, mask > 0)


def test_colours_in_lossy_webp_are_no_classes(tmp_path):
    coloured = COLOURS[np.kron(LABELS, np.ones((8, 8), np.uint8))]
    Image.fromarray(coloured).save(tmp_path / "a.webp")
    with pytest.raises(InputError, match=r"colours, too many to be classes: JPEG, lossy WebP and"):
        read_coarse(tmp_path / "a.webp")
    Image.fromarray(coloured).save(tmp_path / "a.webp", lossless=True)
    assert read_coarse(tmp_path / "a.webp").kind == "colours"


def test_chunks_without_end_are_not_followed(tmp_path):
    (tmp_path / "a.webp").write_bytes(b"RIFFxxxxWEBP" + (b"NONE" + bytes(4)) * 100_000)
    with pytest.raises(InputError, match=r"a\.webp cannot be read"):
        read_coarse(tmp_path / "a.webp")
    assert not is_lossy(tmp_path / "a.webp", "WEBP")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("palette", [None, Palette(COLOURS[:6], tuple("abcdef"))])
def test_colours(tmp_path, suffix, palette):
    Image.fromarray(COLOURS[LABELS]).save(tmp_path / f"a{suffix}", **({"lossless": True} if suffix == ".webp" else {}))
    coarse, result = back(tmp_path, tmp_path / f"a{suffix}", palette=palette)
    assert coarse.kind == "colours"
    assert coarse.values.max() == (4 if palette else 2)
    np.testing.assert_array_equal(coarse.codes[coarse.values], COLOURS[LABELS])
    np.testing.assert_array_equal(pixels(result)[1], COLOURS[LABELS])


@pytest.mark.parametrize("deep", [False, True])
def test_soft_masks(tmp_path, deep):
    Image.fromarray(ALPHA.astype(np.uint16) * 257 if deep else ALPHA).save(tmp_path / "a.png")
    coarse, result = back(tmp_path, tmp_path / "a.png", kind="alpha")
    assert coarse.values.shape == (2, 12, 16)
    np.testing.assert_array_equal(pixels(result)[1], ALPHA.astype(np.uint16) * 257 if deep else ALPHA)
    assert read_coarse(tmp_path / "a.png").kind == "alpha"


@pytest.mark.parametrize("beneath", ["RGB", "L"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_an_alpha_channel_is_a_soft_mask(tmp_path, beneath, suffix):
    picture = Image.fromarray(photograph(12, 16)).convert(beneath)
    picture.putalpha(Image.fromarray(ALPHA))
    path = tmp_path / f"a{suffix}"
    picture.save(path)
    coarse, result = back(tmp_path, path)
    assert coarse.kind == "alpha"
    np.testing.assert_allclose(coarse.values[1], ALPHA / 255, atol=1e-6)
    assert pixels(result)[0] == f"{beneath}A"
    np.testing.assert_array_equal(pixels(result)[1], pixels(path)[1])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK"])
def test_a_tiff_on_its_side(tmp_path, mode, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    marked = LABELS.copy()
    marked[:2, :3] = 2
    Image.fromarray(marked * 50).convert("RGB").convert(mode).save(tmp_path / "a.tif", exif=exif)
    turned = {
        1: marked, 2: marked[:, ::-1], 3: marked[::-1, ::-1], 4: marked[::-1],
        5: marked.T, 6: marked[::-1].T, 7: marked[::-1, ::-1].T, 8: marked[:, ::-1].T,
    }[orientation]  # fmt: skip
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[..., 0], turned * 50)
    np.testing.assert_array_equal(ranks(read_coarse(tmp_path / "a.tif").values), ranks(turned))
    assert read_image_size(tmp_path / "a.tif") == turned.shape


def ranks(labels):
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape)


@pytest.mark.parametrize("suffix", [".tif", ".webp", ".png"])
def test_pages_are_not_dropped_in_silence(tmp_path, suffix):
    pages = [Image.fromarray((LABELS + page) * 40).convert("RGB") for page in range(3)]
    options = {"lossless": True} if suffix == ".webp" else {}
    pages[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=pages[1:], **options)
    with pytest.raises(InputError, match="it has 3 pages, and a coarse map has one"):
        read_coarse(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_sixteen_bits_a_channel_are_not_cut_in_silence(tmp_path, channels):
    values = (LABELS.astype(np.uint16) + 1000)[..., None].repeat(channels, axis=2)
    write_deep_png(tmp_path / "a.png", values)
    with pytest.raises(InputError, match="its channels have 16 bits each, of which 8 would be lost"):
        read_coarse(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").shape == (12, 16, 3)


def write_deep_png(path, values):
    """A PNG of 16 bits a channel, which Pillow does not write."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = b""
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        chunks += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def test_a_cutout_with_a_palette_is_a_soft_mask(tmp_path):
    picture = Image.fromarray(LABELS)
    picture.putpalette(class_colours().tobytes())
    opacity = np.linspace(0, 255, 256).round().astype(np.uint8)
    picture.save(tmp_path / "a.png", transparency=opacity.tobytes())
    coarse, result = back(tmp_path, tmp_path / "a.png")
    assert coarse.kind == "alpha"
    np.testing.assert_allclose(coarse.values[1], opacity[LABELS] / 255, atol=1e-6)
    mode, written, _ = pixels(result)
    assert mode == "RGBA"
    np.testing.assert_array_equal(written[..., 3], opacity[LABELS])


@pytest.mark.parametrize("transparency", [0, bytes([0, 255, 255, 255, 0])])
def test_a_class_that_is_transparent_stays_so(tmp_path, transparency):
    picture = Image.fromarray(LABELS)
    picture.putpalette(class_colours().tobytes())
    picture.save(tmp_path / "a.png", transparency=transparency)
    coarse, result = back(tmp_path, tmp_path / "a.png")
    assert coarse.kind == "labels"
    np.testing.assert_array_equal(pixels(result)[1], LABELS)
    with Image.open(tmp_path / "a.png") as given, Image.open(result) as written:
        np.testing.assert_array_equal(np.asarray(given.convert("RGBA")), np.asarray(written.convert("RGBA")))
    assert read_coarse(tmp_path / "a.png", "alpha").kind == "alpha"


def test_an_opaque_alpha_channel_is_none(tmp_path):
    Image.fromarray(COLOURS[LABELS]).convert("RGBA").save(tmp_path / "a.png")
    assert read_coarse(tmp_path / "a.png").kind == "colours"


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (LABELS, "labels"), (LABELS.astype(np.int64) * 300, "labels"), (MASK, "labels"),
        (MASK.astype(np.uint8) * 255, "mask"), (ALPHA.astype(np.float32) / 255, "alpha"),
        ((ALPHA / 255).astype(np.float16)[None], "alpha"), (ALPHA[None], "alpha"), (LABELS[None], "labels"),
        (MASK.astype(np.uint8)[None], "labels"), (MASK.astype(np.uint8)[None] * 255, "mask"),
        (probabilities(4, 12, 16), "probabilities"),
        ((probabilities(4, 12, 16) * 255).astype(np.uint8), "probabilities"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_arrays(tmp_path, array, kind, suffix):
    path = tmp_path / f"a{suffix}"
    np.save(path, array) if suffix == ".npy" else np.savez_compressed(path, mine=array)
    coarse = read_coarse(path)
    assert coarse.kind == kind
    result = tmp_path / f"result{suffix}"
    coarse.write(result, Unchanged(coarse.values))
    stored = np.load(result) if suffix == ".npy" else np.load(result)["mine"]
    assert stored.dtype == array.dtype
    np.testing.assert_allclose(stored.astype(float), array.astype(float), atol=1e-3)


def test_arrays_in_the_order_of_fortran(tmp_path):
    array = np.asfortranarray(probabilities(3, 4, 5))
    np.save(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(read_coarse(tmp_path / "a.npy").values, array)


def test_probabilities_become_coloured_labels(tmp_path):
    np.savez(tmp_path / "a.npz", probs=probabilities(4, 12, 16))
    _, result = back(tmp_path, tmp_path / "a.npz", LABELS)
    assert result.suffix == ".png"
    mode, found, palette = pixels(result)
    assert mode == "P"
    np.testing.assert_array_equal(found, LABELS)
    assert palette[:15] == COLOURS[:5].ravel().tolist()


def test_probabilities_come_back(tmp_path):
    shares = probabilities(3, 5, 6)
    np.savez(tmp_path / "a.npz", probs=shares, classes=np.array([0, 15, 255]))
    read_coarse(tmp_path / "a.npz").write_probabilities(tmp_path / "b.npz", Unchanged(shares))
    coarse = read_coarse(tmp_path / "b.npz")
    np.testing.assert_allclose(coarse.values / 255, shares, atol=0.003)
    assert np.load(tmp_path / "b.npz")["classes"].tolist() == [0, 15, 255]


# What is wrong is said


def test_coarse_maps_that_could_be_two_things(tmp_path):
    Image.fromarray((ALPHA // 2).astype(np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"grey levels from 0 to 127: are they labels or a soft mask.*--kind labels"):
        read_coarse(tmp_path / "a.png")
    assert read_coarse(tmp_path / "a.png", "labels").kind == "labels"


def test_colours_that_are_no_classes(tmp_path):
    Image.fromarray(photograph(40, 40)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a.png: it holds 1\d\d\d colours, too many to be classes"):
        read_coarse(tmp_path / "a.png")
    strange = COLOURS[LABELS].copy()
    strange[2, 3] = (1, 2, 3)
    Image.fromarray(strange).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"1 of its 192 pixels .* \(1, 2, 3\) at row 2, column 3"):
        read_coarse(tmp_path / "a.png", palette=Palette(COLOURS[:5], tuple("abcde")))
    with pytest.raises(InputError, match="it is coloured, so it holds no labels"):
        read_coarse(tmp_path / "a.png", "labels")
    Image.fromarray(ALPHA).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="it is grey, so it holds no colours"):
        read_coarse(tmp_path / "a.png", "colours")
    with pytest.raises(InputError, match="one of auto, labels, mask, alpha, colours; got 'edges'"):
        read_coarse(tmp_path / "a.png", "edges")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 0 0 a\n256 0 0 b", "line 2 of .* must be"),
        ("0 0\n", "line 1 of"),
        ("0 0 0 a\n", "from 2 to 65536 classes a colour; it has 1 lines"),
        ("0 0 0 a\n1 0 0\n\n0 0 0 b\n", "lines 1 and 4 of .* give two classes one colour, '0 0 0 b'"),
        ("-1 0 0\n1 1 1\n", "line 1 of"),
        ("\x00\n", "line 1 of"),
    ],
)
def test_palettes_that_are_none(tmp_path, text, message):
    (tmp_path / "p.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        read_palette(tmp_path / "p.txt")
    (tmp_path / "p.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not a text file"):
        read_palette(tmp_path / "p.txt")


def test_palettes(tmp_path):
    (tmp_path / "p.txt").write_text("# classes\n\n0,0,0,the ground\n 128 64 128  road \n1;2;3\n")
    palette = read_palette(tmp_path / "p.txt")
    assert palette.names == ("the ground", "road", "2")
    assert palette.colours.tolist() == [[0, 0, 0], [128, 64, 128], [1, 2, 3]]


def test_formats_that_cannot_hold_a_result(tmp_path):
    Image.fromarray(LABELS.astype(np.uint16) * 1000).save(tmp_path / "a.png")
    deep = read_coarse(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", LABELS.astype(np.int64) * 1000)
    np.savez(tmp_path / "a.npz", probs=probabilities(2, 4, 5), classes=np.array([3, 300]))
    for coarse in (deep, read_coarse(tmp_path / "a.npy"), read_coarse(tmp_path / "a.npz")):
        for suffix in (".bmp", ".webp"):
            with pytest.raises(InputError, match=r"holds no 16-bit values; write the result as b\.png"):
                coarse.check(tmp_path / f"b{suffix}", (4, 5))
        coarse.check(tmp_path / "b.png", (4, 5))


def test_labels_above_a_short_palette_are_kept(tmp_path):
    np.savez(tmp_path / "a.npz", probs=probabilities(2, 4, 5), classes=np.array([3, 200]))
    _, result = back(tmp_path, tmp_path / "a.npz", np.array([[0, 1, 1], [1, 0, 0]]))
    with Image.open(result) as image:
        np.testing.assert_array_equal(np.asarray(image), [[3, 200, 200], [200, 3, 3]])


def test_coloured_labels_become_an_array_of_indices(tmp_path):
    Image.fromarray(COLOURS[LABELS]).save(tmp_path / "a.png")
    coarse = read_coarse(tmp_path / "a.png")
    coarse.write(tmp_path / "b.npz", Unchanged(coarse.values))
    np.testing.assert_array_equal(read_coarse(tmp_path / "b.npz").values, coarse.values)


def test_one_bit_obeys_too(tmp_path):
    Image.fromarray(LABELS > 0).save(tmp_path / "a.png")
    assert read_coarse(tmp_path / "a.png").kind == read_coarse(tmp_path / "a.png", "mask").kind == "mask"
    assert read_coarse(tmp_path / "a.png", "alpha").kind == "alpha"
    assert set(np.unique(read_coarse(tmp_path / "a.png", "labels").values)) == {0, 255}
    with pytest.raises(InputError, match="it is grey, so it holds no colours"):
        read_coarse(tmp_path / "a.png", "colours")


def test_an_opaque_picture_of_a_soft_mask(tmp_path):
    grey = np.linspace(0, 255, 40 * 30).astype(np.uint8).reshape(30, 40)
    Image.fromarray(np.dstack([grey, grey, grey, np.full_like(grey, 255)])).save(tmp_path / "a.png")
    coarse = read_coarse(tmp_path / "a.png", "alpha")
    np.testing.assert_allclose(coarse.values[1], grey / 255, atol=1e-6)


def test_black_and_white_in_rgb_is_a_mask_whatever_the_palette(tmp_path):
    Image.fromarray((LABELS > 0).astype(np.uint8) * 255).convert("RGB").save(tmp_path / "a.png")
    (tmp_path / "p.txt").write_text("0 0 0\n1 2 3\n")
    assert read_coarse(tmp_path / "a.png", "mask", read_palette(tmp_path / "p.txt")).kind == "mask"


def npy(header: bytes, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def claim(shape: str, kind: str = "<f4") -> bytes:
    return npy(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as an array"),
        (b"not an array", "cannot be read as an array"),
        (claim("(21, 100000, 100000)"), "numbers; at most"),
        (claim("(21, 1000, 1000)"), "needs 84000000 bytes, 0 are left"),
        (claim("(2, 2)", "|O"), "it holds object; store numbers"),
        (claim("(2, 2)", "<U4"), "store numbers"),
        (claim("(2, 2)", "<c16"), "store numbers"),
        (claim("(-2, -2)"), "a.npy"),
        (npy(b"{'descr': __import__('os')}\n"), "cannot be read"),
        (npy(b"(" * 5000), "cannot be read"),
        (claim("(1, 2, 3, 4)") + bytes(96), r"shape \(1, 2, 3, 4\)"),
        (claim("()") + bytes(4), r"shape \(\)"),
        (b"\x93NUMPY\x09\x00", "of version"),
    ],
)
def test_arrays_that_are_none(tmp_path, content, message):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_coarse(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("probs.npy", content)
    with pytest.raises(InputError, match=r"a\.npz"):
        read_coarse(tmp_path / "a.npz")


def test_archives_that_are_none(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, a=LABELS, b=LABELS)
    with pytest.raises(InputError, match="the arrays a, b; call one of them `probs`"):
        read_coarse(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(InputError, match="the arrays none"):
        read_coarse(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("probs.npy", claim("(21, 4000, 4000)") + bytes(1000))
    with pytest.raises(InputError, match="needs 1344000000 bytes, it ends after 1000"):
        read_coarse(path)


# Damaged files: whatever is in them, the answer is an array or an InputError with the file's name


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind in ("npy", "npz"):
        np.save(buffer, probabilities(3, 4, 5)) if kind == "npy" else np.savez_compressed(buffer, probs=LABELS)
    else:
        options = {"exif": Image.Exif()} if kind == "jpeg" else {}
        picture = Image.fromarray(LABELS) if kind in ("png", "tiff") else Image.fromarray(photograph(12, 16))
        picture.save(buffer, format=kind, **options)
    return buffer.getvalue()


CONTENTS = {kind: encoded(kind) for kind in ("png", "jpeg", "tiff", "webp", "bmp", "npy", "npz")}
SUFFIX = {"jpeg": "jpg"}


@given(
    st.sampled_from(sorted(CONTENTS)),
    st.integers(0, 2000),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6),
)
@example("png", 20, [])
@example("tiff", 2000, [(4, 255), (5, 255)])
@example("npz", 40, [])
def test_damaged_files(tmp_path_factory, kind, kept, changes):
    content = bytearray(CONTENTS[kind])
    for place, value in changes:
        content[place % len(content)] = value
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    path = folder / f"a.{SUFFIX.get(kind, kind)}"
    path.write_bytes(content if kept > len(content) else content[:kept])
    for read in [read_coarse] if kind in ("npy", "npz") else [read_coarse, read_image]:
        with errors_that_name(path):
            read(path, most_pixels=1 << 16)


@given(st.binary(max_size=200))
def test_anything_as_a_file(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp() / "anything"
    folder.mkdir(exist_ok=True)
    for suffix in ("png", "npy", "npz", "txt"):
        path = folder / f"a.{suffix}"
        path.write_bytes(content)
        read = read_palette if suffix == "txt" else read_coarse
        with errors_that_name(path):
            read(path)


def test_pictures_are_written_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(Image.Image, "save", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_picture(tmp_path / "a.png", photograph(4, 4))
    assert not list(tmp_path.iterdir())


def test_masks_with_smooth_edges_are_soft_whatever_their_channels(tmp_path):
    levels = np.kron(MASK.astype(np.uint8) * 255, np.ones((8, 8), np.uint8))
    levels[24:72, 32] = np.linspace(20, 235, 48) // 16 * 16  # a slanted edge
    smooth = Image.fromarray(levels)
    smooth.save(tmp_path / "grey.png")
    smooth.convert("RGB").save(tmp_path / "rgb.png")
    assert 3 < len(np.unique(np.asarray(smooth))) <= 64, "few enough levels to be labels"
    Image.fromarray(ALPHA).convert("RGB").save(tmp_path / "soft.png")
    for name in ("grey", "rgb", "soft"):
        assert read_coarse(tmp_path / f"{name}.png").kind == "alpha"


def test_many_labels_and_void_are_no_soft_mask(tmp_path):
    labels = np.arange(192, dtype=np.uint8).reshape(12, 16) // 5
    labels[0] = 255
    Image.fromarray(labels).save(tmp_path / "labels.png")
    assert read_coarse(tmp_path / "labels.png").kind == "labels"


def test_labels_stretched_to_see_them_are_labels(tmp_path):
    labels = np.zeros((100, 100), np.uint8)
    for place, level in enumerate((51, 102, 153, 204, 255)):
        labels[10:28, 10 + 18 * place : 20 + 18 * place] = level
    Image.fromarray(labels).save(tmp_path / "stretched.png")
    assert read_coarse(tmp_path / "stretched.png").kind == "labels"


@pytest.mark.parametrize("name", ["a.tif", "a.webp", "a.png"])
def test_an_image_of_several_pages_is_refused(tmp_path, name):
    pages = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (0, 100, 200)]
    pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    with pytest.raises(InputError, match="it has 3 pages, and an image has one"):
        read_image(tmp_path / name)


def test_a_picture_that_does_not_fit_into_memory_is_refused_from_its_header(tmp_path, monkeypatch):
    Image.new("RGB", (4000, 4000)).save(tmp_path / "a.png")
    monkeypatch.setattr("spatialprop.memory.memory_left", lambda: 100_000_000)
    with pytest.raises(InputError, match=r"a\.png: it needs about 0\.2 GB of memory, 0\.1 GB are left"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["device", "pipe", "long"])
def test_a_palette_that_never_ends(tmp_path, kind):
    path = Path("/dev/zero") if kind == "device" else tmp_path / "palette.txt"
    if kind == "pipe":
        os.mkfifo(path)
    if kind == "long":
        path.write_bytes(b"0 0 0\n" * (1 << 21))
    with pytest.raises((InputError, FileNotFoundError), match=r"is not a file|has more than"):
        read_palette(path)


def test_a_header_that_claims_far_more_than_the_file_can_hold_is_damaged(tmp_path):
    Image.new("L", (32, 24)).save(tmp_path / "a.tif")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    start = int.from_bytes(content[4:8], "little")
    for entry in range(start + 2, start + 2 + 12 * int.from_bytes(content[start : start + 2], "little"), 12):
        if int.from_bytes(content[entry : entry + 2], "little") == 257:  # its height
            content[entry + 2 : entry + 12] = b"\4\0\1\0\0\0" + (7_864_344).to_bytes(4, "little")
    (tmp_path / "a.tif").write_bytes(content)
    for read in (read_image, read_indices, read_image_size):
        with pytest.raises(InputError, match="claims 32x7864344 pixels in"):
            read(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_flat_masks_are_no_bombs(tmp_path, suffix):
    options = {".tif": {"compression": "tiff_adobe_deflate"}, ".webp": {"lossless": True}}.get(suffix, {})
    Image.new("1" if suffix == ".png" else "L", (5000, 5000)).save(tmp_path / f"a{suffix}", **options)
    assert read_image_size(tmp_path / f"a{suffix}") == (5000, 5000)


def test_no_room_opens_pictures_past_this_one():
    """Pillow opens formats that nobody documents, and some of them start programs; here it is told which to open."""
    folder = Path(spatialprop.__file__).parent
    calls = re.compile(r"^[^>\"]*\bImage\.open\(", re.MULTILINE)
    found = [path for path in folder.rglob("*.py") if calls.search(path.read_text(encoding="utf-8"))]
    assert [str(path.relative_to(folder)) for path in found] == ["maskfiles/pictures.py"]


def test_examples_open_the_documented_formats_alone():
    for path in (Path(__file__).parents[2] / "examples").glob("*.py"):
        code = path.read_text(encoding="utf-8").partition('"""\n')[2]
        assert code.count("Image.open(") == code.count("formats=FORMATS)"), path
