"""Downloads from servers that mean no good."""

import hashlib
import socketserver
import threading

import pytest

from spatialprop.download import Checksum, fetch

CONTENT = b"content"
RIGHT = Checksum("sha256", hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def served():
    """A function that serves one answer, and endless bytes behind it, and gives the address."""
    servers = []

    def serve(head: bytes, endless: bool = False):
        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                while self.rfile.readline().strip():
                    pass
                try:
                    self.wfile.write(head)
                    for _ in range(1 << 12 if endless else 0):
                        self.wfile.write(bytes(1 << 16))
                except OSError:
                    pass  # it was hung up on

        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/file"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("length", ["abc", "-1", "1e9", "", "9" * 40, "0x10", "\u0661"])
def test_a_length_that_is_no_number(served, tmp_path, length):
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode() + CONTENT
    with pytest.raises(ConnectionError, match=r"http://127.*file"):
        fetch(served(head), tmp_path / "file", RIGHT)
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("announced", [True, False])
def test_a_server_that_never_ends(served, tmp_path, announced):
    length = f"Content-Length: {1 << 40}\r\n" if announced else ""
    address = served(f"HTTP/1.1 200 OK\r\n{length}\r\n".encode(), endless=True)
    with pytest.raises(ValueError, match=r"not the file that was asked for.*1048576"):
        fetch(address, tmp_path / "file", RIGHT, most=1 << 20)
    assert [path.name for path in tmp_path.iterdir()] == ["file.lock"]


def test_a_file_that_does_not_fit_on_the_disk(served, tmp_path):
    address = served(f"HTTP/1.1 200 OK\r\nContent-Length: {1 << 50}\r\n\r\n".encode())
    with pytest.raises(ConnectionError, match="the disk has not free"):
        fetch(address, tmp_path / "file", RIGHT, most=1 << 60)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_what_comes_along_with_a_redirection_is_not_read(served, tmp_path, code):
    target = served(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n" + CONTENT)
    address = served(f"HTTP/1.1 {code} Found\r\nLocation: {target}\r\nContent-Length: {1 << 40}\r\n\r\n".encode())
    assert fetch(address, tmp_path / "file", RIGHT).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "head", [b"", b"\xff" * 99, b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 999 + b"\r\n", b"HTTP/1.1 "]
)
def test_an_answer_that_is_no_http(served, tmp_path, head):
    with pytest.raises(ConnectionError):
        fetch(served(head), tmp_path / "file", RIGHT)
