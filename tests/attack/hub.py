"""A hub whose answers are damaged, lead elsewhere or never end, and names that are none."""

import contextlib
import logging
import os
import socketserver
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import huggingface_hub.constants as constants

from spatialprop import Refiner
from spatialprop.refiner import save_refiner
from tests.attack.archives import safetensors
from tests.attack.judge import Try
from tests.attack.mutation import damaged
from tests.refiner.networks import trained

logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
NAMES = (
    "hf:a/b",
    "hf:a/b@main",
    "hf:a/b@" + "0" * 40,
    "hf:",
    "hf:a",
    "hf:a/b/c",
    "hf:../b",
    "hf:a/..",
    "hf:-a/b",
    "hf:a/b@../../x",
    "hf:a/b@",
    "hf:a/" + "b" * 200,
    "hf:a/b?x=1",
    "hf:a/b\n",
    "hf:http://127.0.0.1/x",
)
ENDLESS = 600 << 20  # bytes that an answer claims


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    answers: tuple[bytes, bytes] = (b"", b"")  # to HEAD and to GET
    hits = 0


class Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        first = self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        head, get = self.server.answers
        with contextlib.suppress(OSError):  # it was hung up on
            self.wfile.write(head if first.startswith(b"HEAD") else get)


@cache
def sound() -> bytes:
    path = Path("w.safetensors")
    save_refiner(trained(), path)
    return path.read_bytes()


def answers(rng: Random) -> tuple[bytes, bytes]:
    def choice(sound: Any, *others: Any) -> Any:
        return sound if rng.random() < 0.85 else rng.choice(others)

    content = sound() if rng.random() < 0.6 else safetensors(rng)
    headers = {
        "ETag": choice('"abc"', '"../../owned"', '""', "W/x", '"' + "a" * 300 + '"', None),
        "X-Repo-Commit": choice("0" * 40, "../../owned", "", None),
        "Content-Length": choice(len(content), 0, 5, -1, "abc", ENDLESS, 1 << 60),
        "X-Linked-Size": choice(None, len(content), 1 << 60, "x", -1),
        "X-Linked-Etag": choice(None, f'"{"0" * 64}"', '"../owned"'),
        "Location": choice(None, "/a/b", "file:///etc/passwd", "http://127.0.0.1:1/", "//x"),
        "X-Xet-Hash": choice(None, "x"),
        "X-Error-Code": choice(None, "RepoNotFound", "EntryNotFound", "GatedRepo", "x"),
    }
    code = choice(200, 302, 307, 401, 403, 404, 500, 206, 416)
    lines = [f"HTTP/1.1 {code} X", *(f"{name}: {value}" for name, value in headers.items() if value is not None)]
    head = "\r\n".join([*lines, "Connection: close", "", ""]).encode()
    get = head + content[: choice(len(content), 10)]
    return (damaged(rng, head) if rng.random() < 0.15 else head, damaged(rng, get) if rng.random() < 0.15 else get)


def tries(rng: Random) -> Iterator[Try]:
    """Endless."""
    number = 0
    while True:
        number += 1
        name = "hf:a/b" if rng.random() < 0.6 else rng.choice(NAMES)
        yield Try(f"{name!r:.40} {number}", lambda n=name, s=rng.random(): _load(n, Random(s)))


def _load(name: str, rng: Random) -> None:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.answers = answers(rng)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        cache_folder = Path("cache").resolve()
        changed = {"HF_ENDPOINT": address, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "3"}
        try:
            with (
                mock.patch.dict(os.environ, changed),
                mock.patch.object(constants, "HF_HUB_CACHE", str(cache_folder)),
                mock.patch.object(constants, "DEFAULT_REQUEST_TIMEOUT", 3),
                mock.patch("time.sleep"),  # between attempts
            ):
                Refiner.load(name)
        finally:
            server.shutdown()
            thread.join()
            assert {path.name for path in Path().iterdir()} <= {"cache", "w.safetensors"}
