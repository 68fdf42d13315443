"""The page's server: requests with any address, header and body, by HTTP and past it."""

import atexit
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from functools import cache
from random import Random

import numpy as np
import uvicorn

from spatialprop import Refiner
from spatialprop.demo import make_app
from spatialprop.values import Colorize, Matte
from tests.attack.judge import RefusedError, Try
from tests.attack.mutation import damaged
from tests.refiner.networks import trained

HEIGHT, WIDTH = 20, 30
NUMBERS = ("0", "1", "20", "30", "-1", "1e3", "", "x", "999999999", "9" * 30, "3.5", "٣", "0x10", "+5", " 5", "5%00")
PATHS = (
    "/api/about",
    "/api/image",
    "/api/refine",
    "/api/affinity",
    "/api/matte",
    "/api/colour",
    "/api/ready",
    "/engine.js",
    "/",
    "/..%2f..%2fserver.py",
    "/../server.py",
    "//etc/passwd",
    "/%00",
    "/engines/../../server.py",
    "/\\..\\server.py",
    "*",
    "http://127.0.0.1/",
    "/" + "a" * 9000,
    "/api/image?width=30&height=20&width=1",
)
HEADERS = (
    ("Host", "evil.example"),
    ("Host", "127.0.0.1:1@evil.example"),
    ("Host", ""),
    ("Origin", "http://evil.example"),
    ("Origin", "null"),
    ("Sec-Fetch-Site", "cross-site"),
    ("Content-Length", "-1"),
    ("Content-Length", "99999999999"),
    ("Content-Length", "1, 2"),
    ("Transfer-Encoding", "chunked"),
    ("Range", "bytes=0-0,1-1,2-2"),
    ("If-Modified-Since", "x"),
    ("X", "a" * 70000),
    ("Expect", "100-continue"),
    ("Upgrade", "websocket"),
    ("Connection", "upgrade"),
    ("Cookie", "\xff\xfe"),
)
FORBIDDEN = (b"root:", b"class Sessions", b"Traceback (most recent call last)")


@cache
def port() -> int:
    """The port of a server that lives as long as the process."""
    refiner, matte, colorize = Refiner(trained()), Matte.load(), Colorize.load()
    app = make_app(refiner, matte=matte, colorize=colorize, most_pixels=HEIGHT * WIDTH)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", access_log=False, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()

    def end() -> None:
        server.should_exit = True
        thread.join()

    atexit.register(end)
    while not server.started:
        time.sleep(0.01)
    return int(listening.getsockname()[1])


def tries(rng: Random) -> Iterator[Try]:
    """Endless."""
    number = 0
    while True:
        number += 1
        if rng.random() < 0.7:
            yield Try(f"session {number}", lambda s=rng.random(): _session(Random(s)))
        else:
            yield Try(f"bytes {number}", lambda s=rng.random(): _bytes(Random(s)))


def _session(rng: Random) -> None:
    """An image, a mask and a question, of which any part may be anything; afterwards the server is asked how it is."""
    asked = {"width": WIDTH, "height": HEIGHT}
    if rng.random() < 0.3:
        asked[rng.choice(("width", "height"))] = rng.choice(NUMBERS)
    body = bytes(rng.choice((0, 1, 3 * HEIGHT * WIDTH, 3 * HEIGHT * WIDTH, 3 * HEIGHT * WIDTH, 1 << 20)))
    code, content = _ask(rng, "POST", "/api/image", asked, body)
    codes = [code]
    image = json.loads(content)["id"] if code == 200 else "1"
    image = image if rng.random() < 0.8 else rng.choice(("1", "0", "", "x", "../1", "1" * 99))
    labels = np.random.default_rng(rng.randrange(99)).integers(0, rng.choice((1, 2, 256)), HEIGHT * WIDTH, np.uint8)
    size = rng.choice((0, 1, HEIGHT * WIDTH, HEIGHT * WIDTH, HEIGHT * WIDTH, HEIGHT * WIDTH + 1))
    rough = rng.choice(("0", "6")) if rng.random() < 0.8 else rng.choice(NUMBERS)
    code, content = _ask(rng, "POST", "/api/refine", {"image": image, "rough": rough}, labels.tobytes()[:size])
    assert code != 200 or len(content) == HEIGHT * WIDTH, f"{len(content)} labels came back"
    codes.append(code)
    for path, of, back in (("/api/matte", 1, 4), ("/api/colour", 4, 3)):
        if rng.random() < 0.3:
            code, content = _ask(rng, "POST", path, {"image": image}, (labels.tobytes() * of)[: of * size])
            assert code != 200 or len(content) == back * HEIGHT * WIDTH, f"{len(content)} bytes came back"
            codes.append(code)
    place = {name: "5" if rng.random() < 0.8 else rng.choice(NUMBERS) for name in ("row", "column")}
    codes.append(_ask(rng, "GET", "/api/affinity", {"image": image, **place}, b"")[0])
    if rng.random() < 0.3:
        method = rng.choice(("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "X"))
        codes.append(_ask(rng, method, rng.choice(PATHS), {}, b"")[0])
    _is_well()
    if any(code >= 400 for code in codes):
        raise RefusedError(f"codes {codes}")


def _ask(rng: Random, method: str, path: str, query: dict[str, object], body: bytes) -> tuple[int, bytes]:
    words = "&".join(f"{name}={value}" for name, value in query.items()).replace(" ", "%20")
    connection = http.client.HTTPConnection("127.0.0.1", port(), timeout=30)
    try:
        target = f"{path}?{words}" if words else path
        connection.putrequest(method, target.encode().decode("latin-1"), skip_host=True, skip_accept_encoding=True)
        sent = {"Host": f"127.0.0.1:{port()}", "Content-Length": str(len(body))}
        if rng.random() < 0.2:
            name, value = rng.choice([header for header in HEADERS if header[0] not in ("Content-Length", "Expect")])
            sent[name] = value
        if "Transfer-Encoding" in sent:
            del sent["Content-Length"]
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        for name, value in sent.items():
            connection.putheader(name, value.encode("latin-1"))
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read(1 << 24)
    except (http.client.HTTPException, OSError, ValueError):
        return 499, b""  # it hung up, or the words could not be sent
    finally:
        connection.close()
    assert answer.status != 500, f"{method} {path} {query}: {content[:300]!r}"
    assert not any(secret in content for secret in FORBIDDEN), f"{method} {path}: {content[:300]!r}"
    return answer.status, content


def _bytes(rng: Random) -> None:
    """What may not be HTTP at all."""
    lines = [f"{rng.choice(('GET', 'POST', 'X'))} {rng.choice(PATHS)} HTTP/{rng.choice(('1.1', '1.0', '2.0', '9'))}"]
    lines += [f"{name}: {value}" for name, value in rng.sample(HEADERS, rng.randint(0, 4))]
    sent = "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + rng.randbytes(rng.choice((0, 10, 2000)))
    sent = damaged(rng, sent) if rng.random() < 0.5 else sent
    with socket.create_connection(("127.0.0.1", port()), timeout=5) as connection:
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            found = connection.recv(1 << 16)
        except OSError:
            found = b""
    assert not any(secret in found for secret in FORBIDDEN), repr(found[:300])
    assert not found.startswith(b"HTTP/1.1 500"), repr(found[:300])
    _is_well()
    if not found.startswith(b"HTTP/1.1 2"):
        raise RefusedError(repr(found[:80]))


def _is_well() -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port(), timeout=30)
    connection.request("GET", "/api/about")
    answer = connection.getresponse()
    assert answer.status == 200, "the server does not answer any more"
    assert b"mostPixels" in answer.read()
    connection.close()
