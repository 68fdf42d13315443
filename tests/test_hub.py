"""Refiners on the hub, tested against a stand-in that answers as the hub does."""

import base64
import hashlib
import http.server
import json
import socketserver
import threading
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

from spatialprop import Refiner
from spatialprop.errors import InputError
from tests.refiner.networks import photograph, trained

pytest.importorskip("huggingface_hub", reason="pip install 'spatialprop[hub]'")


class Hub(http.server.BaseHTTPRequestHandler):
    """The few addresses of the hub that are asked here; `server.commits` holds files by repository and commit."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, content=b"", code=200, **headers):
        self.send_response(code)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_GET(self):
        words = unquote(urlsplit(self.path).path).strip("/").split("/")
        repository = "/".join(words[:2])
        commits = self.server.commits.get(repository, [])
        if len(words) < 5 or words[2] != "resolve" or not commits:
            self.answer(code=404, X_Error_Code="RepoNotFound")
            return
        found = commits[-1] if words[3] == "main" else next((one for one in commits if one[0] == words[3]), None)
        if found is None:
            self.answer(code=404, X_Error_Code="RevisionNotFound")
        elif words[4] not in found[1]:
            self.answer(code=404, X_Error_Code="EntryNotFound", X_Repo_Commit=found[0])
        else:
            content = found[1][words[4]]
            tag = hashlib.sha1(content).hexdigest()
            self.answer(content, ETag=f'"{tag}"', X_Repo_Commit=found[0], Accept_Ranges="bytes")

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        if self.headers.get("Authorization") != "Bearer hf_secret":
            self.answer(code=401)
        elif path == "/api/repos/create":
            given = json.loads(body)
            name = f"{given['organization']}/{given['name']}" if given.get("organization") else given["name"]
            self.server.commits.setdefault(name, [])
            self.answer(json.dumps({"url": f"{self.server.address}/{name}"}).encode())
        elif path == "/api/validate-yaml":
            assert "library_name: spatialprop" in json.loads(body)["content"]
            self.answer(json.dumps({"errors": [], "warnings": []}).encode())
        elif "/preupload/" in path:
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]
            self.answer(json.dumps({"files": files}).encode())
        elif "/commit/" in path:
            lines = [json.loads(line) for line in body.splitlines()]
            files = {
                one["value"]["path"]: base64.b64decode(one["value"]["content"]) for one in lines if one["key"] == "file"
            }
            name = "/".join(path.split("/")[3:5])
            commit = hashlib.sha1(body).hexdigest()
            self.server.commits[name].append((commit, files))
            found = {"commitUrl": f"{self.server.address}/{name}/commit/{commit}", "commitOid": commit, "success": True}
            self.answer(json.dumps(found).encode())
        else:
            self.answer(code=404)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    import huggingface_hub.constants as constants

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.cache = tmp_path / "cache"
        server.commits, server.address = {}, f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_what_is_pushed_is_loaded(hub, monkeypatch):
    first, second = (Refiner(trained(seed=seed), f"number {seed}") for seed in range(2))
    address = first.push_to_hub("somebody/edges")
    pinned = address.rsplit("/", 1)[1]
    second.push_to_hub("somebody/edges", message="train longer")
    coarse = np.random.default_rng(0).integers(0, 3, (30, 40))
    for source, expected in (("hf:somebody/edges", second), (f"hf:somebody/edges@{pinned}", first)):
        loaded = Refiner.load(source)
        assert loaded.description == expected.description
        np.testing.assert_array_equal(
            loaded.probabilities(photograph(30, 40), coarse), expected.probabilities(photograph(30, 40), coarse)
        )
    commit, files = hub.commits["somebody/edges"][-1]
    assert sorted(files) == ["README.md", "refiner.safetensors"]
    text = files["README.md"].decode()
    assert text.startswith("---\nlibrary_name: spatialprop\n")
    assert "number 1" in text
    assert '"guidance"' in text
    assert 'Refiner.load("hf:somebody/edges")' in text
    # What has been loaded once needs no network.
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert Refiner.load(f"hf:somebody/edges@{commit}").description == "number 1"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("hf:edges", "are called hf:owner/name"),
        ("hf:a/b/c", "are called hf:owner/name"),
        ("hf:nobody/edges", "cannot be loaded"),
        ("hf:somebody/else@0123456", "cannot be loaded"),
        ("hf:somebody/else", "needs the file refiner.safetensors"),
        ("hf:somebody/evil", "is not a refiner's weights"),
    ],
)
def test_what_cannot_be_loaded_is_named(hub, source, words):
    hub.commits["somebody/else"] = [("a" * 40, {"pytorch_model.bin": b"pickled"})]
    hub.commits["somebody/evil"] = [("b" * 40, {"refiner.safetensors": b"pickled"})]
    with pytest.raises(InputError) as error:
        Refiner.load(source)
    assert words in str(error.value)


def test_who_may_not_push_is_told(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(InputError, match="hf auth login"):
        Refiner(trained()).push_to_hub("somebody/edges")
    with pytest.raises(InputError, match="owner/name"):
        Refiner(trained()).push_to_hub("edges")


def test_a_file_that_is_too_large_is_not_downloaded(hub, monkeypatch):
    Refiner(trained()).push_to_hub("somebody/edges")
    monkeypatch.setattr("spatialprop.stored.LARGEST_FILE", 999)
    with pytest.raises(InputError, match="at most 0 are read"):
        Refiner.load("hf:somebody/edges")
    assert not list(hub.cache.rglob("*.safetensors"))


@pytest.mark.parametrize("tag", ["../../owned", "/tmp/owned", "a" * 300])
@pytest.mark.parametrize("missing", [False, True])
def test_tags_that_would_be_paths_write_nothing(hub, tag, missing):
    files = {} if missing else {"refiner.safetensors": b"x"}
    hub.commits["somebody/edges"] = [(tag, files)]
    with pytest.raises(InputError, match="cannot be loaded"):
        Refiner.load("hf:somebody/edges")
    assert not list(hub.cache.parent.rglob("owned"))


@pytest.mark.parametrize("answer", [b"", b"x\r\n\r\n", b"HTTP/1.1 302 X\r\nLocation: //x\r\n\r\n"])
def test_servers_that_do_not_speak_http_are_named(monkeypatch, answer, tmp_path):
    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            self.rfile.readline()
            self.wfile.write(answer)

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with pytest.raises(InputError, match="hf:a/b cannot be loaded"):
                Refiner.load("hf:a/b")
        finally:
            server.shutdown()


def test_a_revision_that_leads_elsewhere_is_none(hub):
    with pytest.raises(InputError, match="are called hf:owner/name"):
        Refiner.load("hf:a/b@../../x")
