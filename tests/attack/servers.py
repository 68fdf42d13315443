"""Servers whose answers are damaged, endless or not HTTP."""

import contextlib
import hashlib
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

from spatialprop.download import Checksum, fetch
from tests.attack.judge import Try
from tests.attack.mutation import damaged

CONTENT = bytes(range(256)) * 20
RIGHT = Checksum("sha256", hashlib.sha256(CONTENT).hexdigest())
MOST = 1 << 20


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    answer = b""


class Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        with contextlib.suppress(OSError):  # it was hung up on
            self.wfile.write(self.server.answer)


def answer(rng: Random) -> bytes:
    status = rng.choice(
        (b"200 OK", b"200 OK", b"206 Partial", b"404 No", b"302 Found", b"416 Range", b"500 x", b"999 x", b"100 C")
    )
    headers = [
        b"Content-Length: " + rng.choice((b"5120", b"abc", b"-5", b"1e3", b"99999999999", b"0", b"5", b"5120, 5120"))
    ]
    headers.append(b"Content-Range: bytes " + rng.choice((b"100-5119/5120", b"0-1/2", b"x", b"5120-0/*")))
    headers.append(
        b"Location: " + rng.choice((b"file:///etc/passwd", b"ftp://127.0.0.1:1/x", b"/file", b"http://127.0.0.1:1/"))
    )
    headers.append(b"Transfer-Encoding: " + rng.choice((b"chunked", b"gzip", b"identity")))
    sent = rng.sample(headers, rng.randint(0, 3))
    body = rng.choice(
        (CONTENT, CONTENT[100:], b"", bytes(3 * MOST), b"<html>", b"ffffffff\r\n", b"-1\r\nx\r\n0\r\n\r\n")
    )
    found = b"\r\n".join([b"HTTP/1.1 " + status, *sent, b"Connection: close", b"", body])
    return damaged(rng, found) if rng.random() < 0.3 else found


def tries(rng: Random) -> Iterator[Try]:
    """Endless."""
    number = 0
    while True:
        number += 1
        part = CONTENT[: rng.choice((0, 0, 100, 5120, 6000))]
        yield Try(f"fetch {number}", lambda a=answer(rng), p=part: _fetch(a, p))


def _fetch(given: bytes, part: bytes) -> None:
    if part:
        Path("file.part").write_bytes(part)
    with Server(("127.0.0.1", 0), Handler) as server:
        server.answer = given
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            path = fetch(f"http://127.0.0.1:{server.server_address[1]}/file", Path("file"), RIGHT, most=MOST)
            assert path.read_bytes() == CONTENT, "another file than was asked for"
        finally:
            server.shutdown()
            thread.join()
    assert Path("file.part").stat().st_size <= MOST if Path("file.part").exists() else True
