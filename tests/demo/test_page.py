"""The page in a real browser, by both engines: a server behind it, and a static folder."""

import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spatialprop import Colorize, Matte, Refiner
from spatialprop.demo.build import main as build
from spatialprop.refiner import save_refiner
from tests.demo.browser import browser, hosted, served
from tests.refiner.networks import trusting

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
WIDTH, HEIGHT = 160, 120
SIGNATURE = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def chromium():
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def with_server():
    pytest.importorskip("uvicorn", reason="pip install 'spatialprop[serve]'")
    with served("--most-pixels", "4000000") as (address, _):
        yield address


@pytest.fixture(scope="module")
def without_server(tmp_path_factory):
    if shutil.which("npm") is None:
        pytest.skip("no npm is installed here, which has what the static page runs on: apt-get install npm")
    folder = tmp_path_factory.mktemp("static") / "page"
    assert build([str(folder)]) == 0
    with hosted(folder) as address:
        yield address


@pytest.fixture(params=["with_server", "without_server"])
def address(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    """Weights that judge by themselves how rough a mask is, and whose affinities need no gradients."""
    path = tmp_path_factory.mktemp("weights") / "judge.safetensors"
    save_refiner(trusting(), path)
    return str(path)


@pytest.fixture(scope="module", params=["with_server", "without_server"])
def judging(request, judge, tmp_path_factory):
    if request.param == "with_server":
        pytest.importorskip("uvicorn", reason="pip install 'spatialprop[serve]'")
        with served("--weights", judge) as (address, _):
            yield address
        return
    if shutil.which("npm") is None:
        pytest.skip("no npm is installed here, which has what the static page runs on: apt-get install npm")
    folder = tmp_path_factory.mktemp("judging") / "page"
    assert build([str(folder), "--weights", judge]) == 0
    with hosted(folder) as address:
        yield address


@pytest.fixture
def visit(chromium):
    """Opens the page in a window of its own. In the end it must have asked nobody else, and reported no error."""
    visits, problems = [], []

    def opened(address, *, size=(1280, 800), expected_errors=False, **options):
        context = chromium.new_context(viewport={"width": size[0], "height": size[1]}, **options)
        visits.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("request", lambda request: request.url.startswith((address, "blob:")) or problems.append(request.url))
        page.on("pageerror", lambda error: problems.append(str(error)))
        if not expected_errors:
            page.on("console", lambda line: line.type == "error" and problems.append(line.text))
        page.goto(address)
        page.wait_for_selector("html[data-ready=yes]")
        return page

    yield opened
    for context in visits:
        context.close()
    assert problems == []


def png(pixels, palette=None) -> bytes:
    picture = Image.fromarray(pixels)
    if palette is not None:
        picture.putpalette(palette)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def photo() -> np.ndarray:
    """A bright disk on a dark ground, with some noise."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    disk = (rows - 60) ** 2 + (columns - 80) ** 2 < 35**2
    pixels = np.where(disk[..., None], (230, 200, 90), (40, 60, 90))
    return (pixels + np.random.default_rng(0).integers(-8, 8, pixels.shape)).astype(np.uint8)


def rough_mask() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[32:92, 50:112] = 1
    return mask


def choose(page, which: str, content: bytes, name: str = "a.png") -> None:
    page.set_input_files(f"#{which}-file", {"name": name, "mimeType": "image/png", "buffer": content})


def drop(page, *files: tuple[str, bytes]) -> None:
    page.evaluate(
        """files => {
            const transfer = new DataTransfer();
            for (const [name, bytes] of files) transfer.items.add(new File([new Uint8Array(bytes)], name));
            window.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
        }""",
        [[name, list(content)] for name, content in files],
    )


def said(page, words: str) -> str:
    page.wait_for_selector(f'#status:has-text("{words}")')
    return page.text_content("#status")


def refined(page) -> str:
    return said(page, "Refined in")


def saved(page, kind: str) -> Image.Image:
    with page.expect_download() as download:
        page.click(f"[data-save={kind}]")
    picture = Image.open(download.value.path())
    picture.load()
    return picture


def at(page, x: float, y: float) -> tuple[float, float]:
    """Where a pixel of the photograph is on the screen: the picture fits the stage, which has a margin of 20."""
    box = page.locator("#view").bounding_box()
    zoom = min((box["width"] - 40) / WIDTH, (box["height"] - 40) / HEIGHT)
    left, top = (box["width"] - WIDTH * zoom) / 2, (box["height"] - HEIGHT * zoom) / 2
    return box["x"] + left + x * zoom, box["y"] + top + y * zoom


def stroke(page, *points: tuple[float, float]) -> None:
    page.mouse.move(*at(page, *points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*at(page, *point), steps=5)
    page.mouse.up()


def trimap() -> np.ndarray:
    """Certain well inside and well outside the disk."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    away = (rows - 60) ** 2 + (columns - 80) ** 2
    return np.select([away < 25**2, away < 45**2], [255, 128]).astype(np.uint8)


def colour_strokes() -> np.ndarray:
    layer = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    layer[58:62, 70:90], layer[8:12, 20:140] = (200, 60, 30, 255), (40, 90, 200, 255)
    return layer


def change_mode(page, name: str) -> None:
    """By keyboard: the modes lie side by side."""
    page.locator("[name=mode]:checked").focus()
    for _ in range(3):
        if page.is_checked(f"[name=mode][value={name}]"):
            return
        page.keyboard.press("ArrowRight")
    raise AssertionError(f"{name} cannot be reached by the arrow keys")


def test_the_example_is_refined_and_compared(visit, address):
    page = visit(address)
    page.click("#example")
    changed = float(re.search(r"([\d.]+) % of the pixels", refined(page)).group(1))
    assert 1 < changed < 20
    divider = page.locator("#divider")
    assert divider.get_attribute("aria-valuenow") == "50"
    divider.focus()
    page.keyboard.press("Shift+ArrowLeft")
    assert divider.get_attribute("aria-valuenow") == "40"
    page.keyboard.press("Home")
    assert divider.get_attribute("aria-valuenow") == "0"
    before, after = page.locator("#view").screenshot(), None
    page.keyboard.press("End")
    page.wait_for_timeout(200)
    after = page.locator("#view").screenshot()
    assert before != after
    grip = page.locator(".grip").bounding_box()
    page.mouse.move(grip["x"] + 5, grip["y"] + 5)
    page.mouse.down()
    page.mouse.move(*at(page, WIDTH / 2, HEIGHT / 2), steps=4)
    page.mouse.up()
    assert 40 < int(divider.get_attribute("aria-valuenow")) < 60


def test_a_painted_mask_is_refined_undone_and_saved(visit, address):
    page = visit(address)
    choose(page, "photo", png(photo()), "disk.png")
    said(page, "disk.png, 160 \N{MULTIPLICATION SIGN} 120 pixels")
    assert page.is_disabled("#undo")
    page.locator("#size").fill("36")
    stroke(page, (70, 50), (90, 55), (75, 70))
    refined(page)
    labels = np.asarray(saved(page, "grey"))
    assert labels.shape == (HEIGHT, WIDTH)
    assert labels[60, 80] == 1
    assert labels[5, 5] == 0
    page.click("#add-class")
    stroke(page, (10, 10), (150, 12))
    page.wait_for_selector("#undo:enabled")
    page.click("#refine")
    refined(page)
    cut = np.asarray(saved(page, "cutout"))
    assert cut.shape == (HEIGHT, WIDTH, 4)
    np.testing.assert_array_equal(cut[..., :3][cut[..., 3] == 255], photo()[cut[..., 3] == 255])
    assert set(np.unique(cut[..., 3])) == {0, 255}
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    assert page.is_disabled("#undo")
    assert page.is_disabled("[data-save=grey]")
    assert page.is_hidden("#divider")
    page.click("#redo")
    assert page.is_enabled("[data-save=grey]")


def test_what_is_dropped_is_refined_as_by_the_refiner(visit, address, with_server):
    page = visit(address)
    mask = rough_mask() * 7
    palette = np.random.default_rng(3).integers(0, 256, 768).tolist()
    drop(page, ("mask.png", png(mask, palette)), ("photo.png", png(photo())))  # in any order
    refined(page)
    found = saved(page, "palette")
    assert found.mode == "P"
    assert found.getpalette()[21:24] == palette[21:24]
    labels = np.asarray(found)
    assert set(np.unique(labels)) <= {0, 7}
    rough = "auto" if page.is_visible("#auto") else int(page.input_value("#rough"))
    expected = Refiner.load("light")(photo(), mask, rough=rough)
    if address == with_server:
        np.testing.assert_array_equal(labels, expected)
    else:  # by averages over cells that are a little different ones
        assert (labels == expected).mean() > 0.985


def test_trusted_masks_are_refined_as_by_the_refiner(visit, address):
    page = visit(address)
    choose(page, "photo", png(photo()))
    said(page, "pixels")
    if page.is_visible("#auto"):
        page.uncheck("#auto")
    page.locator("#rough").fill("0")
    choose(page, "more", png(rough_mask() * 255))
    refined(page)
    np.testing.assert_array_equal(np.asarray(saved(page, "grey")), rough_mask() * 255)


def test_the_refiner_judges_the_mask_unless_someone_knows_better(visit, judging, judge):
    page = visit(judging)
    assert page.is_checked("#auto")
    assert page.is_hidden("#rough")
    drop(page, ("photo.png", png(photo())), ("mask.png", png(rough_mask())))
    refined(page)
    refiner = Refiner.load(judge)  # whose cells fill the photograph, so nothing is padded
    expected = refiner(photo(), rough_mask())
    assert (expected != rough_mask()).any()
    assert (np.asarray(saved(page, "grey")) == expected).mean() > 0.9995
    page.locator("#auto").focus()
    page.keyboard.press("Space")
    assert page.is_visible("#rough")
    page.locator("#rough").fill("0")
    page.wait_for_selector('#status:has-text("; 0.0 % of the pixels")')
    np.testing.assert_array_equal(np.asarray(saved(page, "grey")), rough_mask())


def test_affinities_are_the_refiners(visit, judging, judge):
    page = visit(judging)
    drop(page, ("photo.png", png(photo())), ("mask.png", png(rough_mask())))
    refined(page)
    page.check("[value=explain]")
    page.mouse.click(*at(page, 80, 60))
    assert said(page, "Affinities in").startswith("Row 60, column 80: ")
    opened = Refiner.load(judge).open(photo(), rough_mask())
    ask = "async ([row, column]) => [...await (await import(new URL('engine.js', location))).affinity(row, column)]"
    for row, column in ((60, 80), (0, 0), (HEIGHT - 1, 77)):
        found = np.float32(page.evaluate(ask, [row, column])).reshape(HEIGHT, WIDTH)
        np.testing.assert_allclose(found, opened.affinity((row, column)), atol=2e-5)


def test_affinities_glow(visit, with_server):
    page = visit(with_server)
    drop(page, ("photo.png", png(photo())), ("mask.png", png(rough_mask())))
    refined(page)
    page.check("[value=explain]")
    page.mouse.click(*at(page, 80, 60))
    assert said(page, "Affinities in").startswith("Row 60, column 80: Class 1.")
    assert page.is_visible("#legend")
    before = page.locator("#view").screenshot()
    page.mouse.click(*at(page, 20, 20))
    said(page, "Row 20, column 20: Background.")
    page.wait_for_timeout(100)
    assert page.locator("#view").screenshot() != before
    page.check("[value=paint]")
    assert page.is_hidden("#legend")
    assert page.is_visible("#divider")


def test_a_painted_trimap_becomes_a_matte(visit, with_server):
    page = visit(with_server)
    change_mode(page, "matte")
    assert "trimap" in page.text_content("#welcome-words")
    choose(page, "photo", png(photo()), "disk.png")
    said(page, "disk.png")
    page.locator("#size").fill("24")
    stroke(page, (70, 50), (90, 55), (75, 70))
    said(page, "Nothing is surely out yet")
    assert page.is_disabled("#refine")
    assert page.is_disabled("[data-save=alpha]")
    page.locator("#view").press("2")
    assert page.is_checked("[name=side][value=out]")
    stroke(page, (10, 10), (150, 10), (150, 110), (10, 110), (10, 10))
    said(page, "Matte in")
    divider = page.locator("#divider")
    divider.focus()
    page.keyboard.press("End")
    assert divider.get_attribute("aria-valuenow") == "100"
    before = page.locator("#view").screenshot()
    page.keyboard.press("Home")
    page.wait_for_timeout(200)
    after = page.locator("#view").screenshot()
    assert before != after
    page.select_option("#behind", "alpha")
    page.wait_for_timeout(200)
    assert page.locator("#view").screenshot() != after
    alpha, cut = np.asarray(saved(page, "alpha")), np.asarray(saved(page, "matte-cutout"))
    assert alpha.shape == (HEIGHT, WIDTH)
    assert (alpha[60, 80], alpha[5, 5]) == (255, 0)
    np.testing.assert_array_equal(cut[..., 3], alpha)
    page.locator("#view").press("Control+z")
    said(page, "Nothing is surely out yet")
    assert page.is_hidden("#divider")
    page.locator("#band").fill("4")
    page.click("#fill")  # and the rest is out
    said(page, "Matte in")


def test_trimaps_and_masks_are_matted_as_by_the_command(visit, with_server):
    page, matte = visit(with_server), Matte.load()
    change_mode(page, "matte")
    drop(page, ("trimap.png", png(trimap())), ("photo.png", png(photo())))  # in any order
    said(page, "Matte in")
    alpha = matte(photo(), trimap())
    np.testing.assert_array_equal(np.asarray(saved(page, "alpha")), np.rint(alpha * 255).astype(np.uint8))
    np.testing.assert_array_equal(np.asarray(saved(page, "matte-cutout")), matte.cut_out(photo(), alpha))
    choose(page, "more", png(rough_mask() * 255))
    page.wait_for_selector("#fill:enabled")
    page.locator("#band").fill("12")  # of which nothing but the last counts
    page.locator("#band").dispatch_event("change")
    page.wait_for_selector("#busy", state="hidden")
    page.click("#refine")
    said(page, "Matte in")
    expected = np.rint(matte.from_mask(photo(), rough_mask(), 12) * 255).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(saved(page, "alpha")), expected)


def test_a_matte_begins_with_the_mask_of_refine(visit, with_server):
    page = visit(with_server)
    drop(page, ("photo.png", png(photo())), ("mask.png", png(rough_mask())))
    refined(page)
    change_mode(page, "matte")
    said(page, "Matte in")
    assert page.is_enabled("#undo")
    change_mode(page, "refine")
    said(page, "Refined in")
    assert page.is_visible("#classes")
    assert page.is_hidden("#sides")


def test_painted_strokes_colour_the_picture(visit, with_server):
    page = visit(with_server)
    change_mode(page, "colour")
    choose(page, "photo", png(photo()), "disk.png")
    said(page, "disk.png")
    page.locator("#view").press("4")
    assert page.is_checked("#inks [aria-label=Red]")
    page.locator("#view").press("Space")
    page.locator("#view").press("Shift+ArrowRight")
    page.locator("#view").press("Space")
    said(page, "Coloured in")
    page.locator("#divider").press("Home")
    found = np.asarray(saved(page, "coloured")).astype(int)
    assert found.shape == (HEIGHT, WIDTH, 3)
    red, green, blue = found[60, 80]
    assert red > green + 20
    assert red > blue + 20
    page.locator("#view").press("i")
    assert page.is_checked("[name=tool][value=pick]")
    page.mouse.click(*at(page, 82, 60))  # on the stroke
    assert page.is_checked("#own")
    assert page.input_value("#own-ink") == page.locator("#inks [aria-label=Red]").get_attribute("value")
    assert page.is_checked("[name=tool][value=paint]")
    page.locator("#view").press("x")  # which only Refine has
    assert page.is_checked("[name=tool][value=paint]")
    page.click(".clear:visible")
    assert page.is_disabled("[data-save=coloured]")
    page.click("#undo")
    said(page, "Coloured in")


@pytest.mark.parametrize("kind", ["layer", "copy"])
def test_dropped_strokes_colour_as_by_the_command(visit, with_server, kind):
    grey = np.asarray(Image.fromarray(photo()).convert("L"))
    strokes = colour_strokes()
    if kind == "copy":
        strokes = np.where(strokes[..., 3:] > 0, strokes[..., :3], grey[..., None])
    page = visit(with_server)
    change_mode(page, "colour")
    drop(page, ("strokes.png", png(strokes)), ("grey.png", png(grey)))
    said(page, "Coloured in")
    np.testing.assert_array_equal(np.asarray(saved(page, "coloured")), Colorize.load()(grey, strokes))


@pytest.mark.parametrize(
    ("mode", "content", "words"),
    [
        ("matte", png(np.full((HEIGHT, WIDTH), 128, np.uint8)), "holds no known foreground"),
        ("matte", png(np.eye(HEIGHT, WIDTH, dtype=np.uint8) * 255), "Nothing inside the mask is further than"),
        ("matte", png(trimap()[:, :HEIGHT]), "Both must show the same part of the scene"),
        ("colour", png(np.zeros((HEIGHT, WIDTH, 4), np.uint8)), "holds no colour"),
        ("colour", png(photo()[::2, ::2]), "Both must have one size"),
    ],
    ids=["one-sided", "thin", "shape", "clear", "size"],
)  # fmt: skip
def test_what_no_mode_can_use_gets_a_message(visit, with_server, mode, content, words):
    page = visit(with_server, expected_errors=True)
    change_mode(page, mode)
    choose(page, "photo", png(photo()))
    said(page, "pixels")
    choose(page, "more", content, "bad.png")
    page.wait_for_selector(f'#alert:has-text("{words}")')


def test_modes_that_the_engine_lacks_are_not_offered(visit, without_server):
    page = visit(without_server)
    assert page.is_hidden("#modes")
    page.click("#help")
    assert page.is_hidden("#help-box [data-offer]:first-of-type")
    assert "Matte" not in page.inner_text("#help-box")


@pytest.mark.parametrize(
    ("which", "content", "words"),
    [
        ("photo", SIGNATURE + b" and nothing more of it", "cannot be read as a picture"),
        ("photo", SIGNATURE + b"\0\0\0\rIHDR" + (30000).to_bytes(4, "big") * 2 + bytes(9), "30000 pixels; this page"),
        ("more", png(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)), "more than 64 colours"),
        ("more", png(np.zeros((HEIGHT, WIDTH), np.uint16)), "16 bits a channel"),
        ("more", png(np.zeros((WIDTH, WIDTH), np.uint8)), "Both must show the same part of the scene"),
    ],
    ids=["broken", "huge", "colours", "deep", "shape"],
)  # fmt: skip
def test_what_cannot_be_used_gets_a_message(visit, with_server, which, content, words):
    page = visit(with_server, expected_errors=True)
    choose(page, "photo", png(photo()))
    said(page, "pixels")
    choose(page, which, content, "bad.png")
    page.wait_for_selector(f'#alert:has-text("{words}")')
    assert "bad.png" in page.text_content("#alert")
    page.click("#alert button")
    assert page.is_hidden("#alert")
    stroke(page, (70, 50), (95, 55))  # and the page goes on
    refined(page)


def test_a_server_that_has_gone_is_named(visit):
    with served() as (address, process):
        page = visit(address, expected_errors=True)
        choose(page, "photo", png(photo()))
        said(page, "pixels")
        process.terminate()
        process.wait(20)
        stroke(page, (70, 50), (95, 55))
        page.wait_for_selector('#alert:has-text("does not answer")')


def test_the_keyboard_alone_is_enough(visit, with_server):
    page = visit(with_server)
    page.locator("#example").focus()
    page.keyboard.press("Enter")
    refined(page)
    for _ in range(60):
        if page.evaluate("() => document.activeElement.id") == "view":
            break
        page.keyboard.press("Tab")
    else:
        raise AssertionError("the picture cannot be reached by Tab")
    page.keyboard.press("1")
    assert page.is_checked("#classes li:nth-child(1) [type=radio]")
    page.keyboard.press("2")  # in the middle there is class 1
    page.keyboard.press("]")
    page.keyboard.press("Space")
    for key in ("ArrowRight", "ArrowDown", "Shift+ArrowLeft"):
        page.keyboard.press(key)
    page.keyboard.press("Space")
    page.wait_for_selector("#undo:enabled")
    page.keyboard.press("x")
    page.keyboard.press("Space")
    said(page, "Affinities in")
    zoom = page.text_content("#zoom-fit")
    page.keyboard.press("+")
    assert page.text_content("#zoom-fit") != zoom
    page.keyboard.press("0")
    assert page.text_content("#zoom-fit") == zoom


def test_everything_has_a_name(visit, with_server):
    page = visit(with_server)
    page.click("#example")
    refined(page)
    nameless = page.evaluate("""() => [...document.querySelectorAll("button, input, select, canvas, #divider")]
        .filter((one) => one.type !== "file")
        .filter((one) => !(one.ariaLabel || one.title || one.textContent.trim() || one.labels?.length))
        .map((one) => one.outerHTML)""")
    assert nameless == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen_is_enough(visit, with_server, scheme):
    page = visit(with_server, size=(390, 780), has_touch=True, device_scale_factor=2, color_scheme=scheme)
    choose(page, "photo", png(photo()))
    said(page, "pixels")
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(
        "() => document.querySelector('#view').width === 2 * document.querySelector('#view').clientWidth"
    )
    page.touchscreen.tap(*at(page, 80, 60))
    refined(page)
    paper = page.evaluate("() => getComputedStyle(document.querySelector('aside')).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    # Two fingers that part zoom, and paint nothing.
    zoom = int(page.text_content("#zoom-fit").split()[0])
    (x, y), session = at(page, 80, 60), page.context.new_cdp_session(page)
    for kind, apart in (("touchStart", 20), ("touchMove", 30), ("touchMove", 60), ("touchEnd", None)):
        points = [] if apart is None else [{"x": x + sign * apart, "y": y, "id": sign + 1} for sign in (-1, 1)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert int(page.text_content("#zoom-fit").split()[0]) > 2 * zoom
    page.click("#undo")
    assert page.is_disabled("#undo")  # there was one stroke
    for mode in ("matte", "colour"):
        change_mode(page, mode)
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
        box = page.locator("#help").bounding_box()
        assert box["x"] + box["width"] <= 390
        assert page.evaluate("() => document.querySelector('aside').scrollWidth <= innerWidth")
