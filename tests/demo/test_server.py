"""The page's server: what it answers, what it refuses, and that answers are the refiner's."""

import socket
from urllib.parse import urlsplit

import numpy as np
import pytest

from spatialprop import Refiner
from spatialprop.demo import make_app, serve
from spatialprop.demo.sessions import MOST_IMAGES
from spatialprop.values import Colorize, Matte
from tests.refiner.networks import trained, trusting

pytest.importorskip("starlette", reason="the page's server is not installed: pip install 'spatialprop[serve]'")
from starlette.testclient import TestClient

HEIGHT, WIDTH = 20, 30


@pytest.fixture(scope="module", params=[trained, trusting], ids=["by gates", "trusting"])
def refiner(request) -> Refiner:
    return Refiner(request.param())


@pytest.fixture(scope="module")
def client(refiner):
    app = make_app(refiner, hosts=("localhost",), most_pixels=HEIGHT * WIDTH)
    with TestClient(app, base_url="http://localhost:8000") as client:
        assert client.get("/api/ready").status_code == 204
        yield client


@pytest.fixture(scope="module")
def making():
    """A client of a page that makes mattes and colours pictures."""
    app = make_app(
        Refiner(trained()),
        matte=Matte.load(),
        colorize=Colorize.load(),
        hosts=("localhost",),
        most_pixels=HEIGHT * WIDTH,
    )
    with TestClient(app, base_url="http://localhost:8000") as client:
        assert client.get("/api/ready").status_code == 204
        yield client


def photo(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def mask() -> np.ndarray:
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[5:15, 8:22] = 3
    return labels


def trimap() -> np.ndarray:
    known = np.zeros((HEIGHT, WIDTH), np.uint8)
    known[3:17, 5:25], known[8:12, 10:20] = 128, 255
    return known


def strokes() -> np.ndarray:
    layer = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    layer[4:6, 3:20], layer[15, 8:28] = (200, 40, 30, 255), (20, 90, 220, 255)
    return layer


def opened(client, pixels: np.ndarray) -> str:
    height, width = pixels.shape[:2]
    answer = client.post("/api/image", params={"width": width, "height": height}, content=pixels.tobytes())
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


@pytest.mark.parametrize("rough", [0, 6, "auto"])
def test_answers_are_the_refiners(client, refiner, rough):
    image = opened(client, photo())
    answer = client.post("/api/refine", params={"image": image, "rough": rough}, content=mask().tobytes())
    expected = refiner.open(photo(), mask(), rough=rough)
    np.testing.assert_array_equal(np.frombuffer(answer.content, np.uint8).reshape(HEIGHT, WIDTH), expected.labels)
    answer = client.get("/api/affinity", params={"image": image, "row": 7, "column": 9})
    found = np.frombuffer(answer.content, "<f4").reshape(HEIGHT, WIDTH)
    np.testing.assert_allclose(found, expected.affinity((7, 9)), atol=1e-6)
    assert answer.headers["server-timing"].startswith("engine;dur=")


def test_the_page_comes_with_its_engine_and_a_policy(client, refiner):
    page = client.get("/")
    assert "<canvas" in page.text
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "api/refine" in client.get("/engine.js").text
    facts = client.get("/api/about").json()
    assert facts["judges"] == refiner.network.judges_labels
    assert facts["ready"]
    assert facts["mostPixels"] == HEIGHT * WIDTH


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "localhost.evil.example:8000"}, 403),
        ({"Host": "localhost:9"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://localhost:8000", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),  # a link to the page
    ],
)
def test_other_sites_are_refused(client, headers, code):
    assert client.get("/", headers=headers).status_code == code


@pytest.mark.parametrize(
    ("parameters", "size", "code", "words"),
    [
        ({"width": "10", "height": "10"}, 301, 413, "at most 300 bytes"),
        ({"width": "10", "height": "10"}, 299, 400, "are 300 bytes; got 299"),
        ({"width": "601", "height": "1"}, 3, 400, "width must be a whole number from 1 to 600; got '601'"),
        ({"width": "30", "height": "21"}, 3, 400, "30 x 21 pixels; at most 600"),
        ({"width": "-3", "height": "10"}, 3, 400, "got '-3'"),
        ({"width": "٣", "height": "10"}, 3, 400, "whole number"),
        ({}, 3, 400, "width must be"),
    ],
)
def test_bad_images_are_refused(client, parameters, size, code, words):
    answer = client.post("/api/image", params=parameters, content=bytes(size))
    assert (answer.status_code, words in answer.json()["error"]) == (code, True), answer.text


def test_bad_questions_are_refused(client):
    image = opened(client, photo())
    few = client.post("/api/refine", params={"image": image, "rough": 0}, content=b"123")
    assert (few.status_code, few.json()["error"]) == (400, "the mask must have 600 labels, one byte a pixel; got 3")
    vague = client.post("/api/refine", params={"image": image, "rough": "much"}, content=mask().tobytes())
    assert (vague.status_code, "rough must be auto or a whole number" in vague.json()["error"]) == (400, True)
    early = client.get("/api/affinity", params={"image": image, "row": 1, "column": 1})
    assert (early.status_code, early.json()["error"]) == (404, "refine a mask of this image first")
    client.post("/api/refine", params={"image": image, "rough": 0}, content=mask().tobytes())
    outside = client.get("/api/affinity", params={"image": image, "row": HEIGHT, "column": 1})
    assert outside.status_code == 400
    assert "outside the image" in outside.json()["error"]


def test_mattes_and_colours_are_those_of_the_commands(making):
    assert making.get("/api/about").json()["modes"] == ["refine", "matte", "colour"]
    image = opened(making, photo())
    answer = making.post("/api/matte", params={"image": image}, content=trimap().tobytes())
    matte = Matte.load()
    expected = matte.cut_out(photo(), matte(photo(), trimap()))
    np.testing.assert_array_equal(np.frombuffer(answer.content, np.uint8).reshape(HEIGHT, WIDTH, 4), expected)
    answer = making.post("/api/colour", params={"image": image}, content=strokes().tobytes())
    expected = Colorize.load()(photo(), strokes())
    np.testing.assert_array_equal(np.frombuffer(answer.content, np.uint8).reshape(HEIGHT, WIDTH, 3), expected)
    assert answer.headers["server-timing"].startswith("engine;dur=")
    for path, content in (("matte", trimap()), ("colour", strokes())):
        gone = making.post(f"/api/{path}", params={"image": "0"}, content=content.tobytes())
        assert (gone.status_code, gone.json()["error"]) == (404, "this image is no longer open; send it again")


@pytest.mark.parametrize(
    ("path", "content", "code", "words"),
    [
        ("/api/matte", bytes(599), 400, "the trimap must have 600 values, one byte a pixel; got 599"),
        ("/api/matte", bytes(601), 413, "at most 600 bytes"),
        ("/api/matte", bytes([128]) * 600, 400, "the trimap holds no known foreground"),
        ("/api/matte", bytes([255]) * 600, 400, "the trimap holds no known background"),
        ("/api/colour", bytes(600), 400, "the layer of strokes must have 2400 bytes, RGBA; got 600"),
        ("/api/colour", bytes(2401), 413, "at most 2400 bytes"),
        ("/api/colour", bytes(2400), 400, "the scribbles hold no colour"),
    ],
)
def test_bad_trimaps_and_strokes_are_refused(making, path, content, code, words):
    answer = making.post(path, params={"image": opened(making, photo())}, content=content)
    assert (answer.status_code, words in answer.json()["error"]) == (code, True), answer.text


def test_a_page_that_only_refines_says_so(client):
    assert client.get("/api/about").json()["modes"] == ["refine"]
    image = opened(client, photo())
    for path, content, what in (("matte", trimap(), "makes no mattes"), ("colour", strokes(), "colours no pictures")):
        answer = client.post(f"/api/{path}", params={"image": image}, content=content.tobytes())
        assert (answer.status_code, what in answer.json()["error"]) == (404, True)


def test_old_images_are_forgotten(client):
    first, *others = [opened(client, photo(seed)) for seed in range(MOST_IMAGES + 1)]
    question = {"rough": 0}
    gone = client.post("/api/refine", params={"image": first, **question}, content=mask().tobytes())
    assert (gone.status_code, gone.json()["error"]) == (404, "this image is no longer open; send it again")
    for image in others:
        assert client.post("/api/refine", params={"image": image, **question}, content=mask().tobytes()).is_success


def test_who_is_told_the_address_finds_the_page_there(refiner):
    def visit(address: str) -> None:
        server = urlsplit(address)
        socket.create_connection((server.hostname, server.port), timeout=5).close()
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1, port {server.port}: .*; choose another"):
            serve(refiner, port=server.port, browser=False, started=pytest.fail)
        raise _SeenError

    with pytest.raises(_SeenError):
        serve(refiner, browser=False, started=visit)


class _SeenError(Exception):
    """Ends a server that would otherwise go on."""
