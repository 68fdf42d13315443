"""Loading weights: names, shapes, damaged files, and downloads that stop, go on, or bring the wrong file."""

import hashlib
import io
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from spatialprop.nn.published import load_state, load_weights


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


def same(one, other):
    other = other.state_dict() if isinstance(other, nn.Module) else other
    return all(torch.equal(tensor, other[name]) for name, tensor in one.state_dict().items())


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_reads_every_format(tmp_path, suffix):
    saved, loaded = network(), network()
    path = tmp_path / f"weights{suffix}"
    save_file(saved.state_dict(), path) if suffix == ".safetensors" else torch.save(saved.state_dict(), path)
    assert load_weights(loaded, path) is None
    assert same(loaded, saved)


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict"])
def test_reads_what_training_scripts_write(tmp_path, wrapper):
    saved, loaded = network(), network()
    torch.save({"epoch": 3, wrapper: saved.state_dict()}, tmp_path / "checkpoint.pth")
    load_weights(loaded, str(tmp_path / "checkpoint.pth"))
    assert same(loaded, saved)


def test_key_map_leads_names_to_names_and_leaves_the_rest():
    module = network()
    norm = module[1].weight.clone()
    state = {"conv.w": torch.ones(4, 3, 1, 1), "conv.b": torch.zeros(4), "step": torch.tensor(1)}
    load_state(module, state, {"conv.w": "0.weight", "conv.b": "0.bias", "step": None, "epoch": None})
    assert torch.equal(module[0].weight, state["conv.w"])
    assert torch.equal(module[1].weight, norm)


def test_of_several_key_maps_the_closest_is_taken(tmp_path):
    caffe = {"conv.w": "0.weight", "conv.b": "0.bias"}
    other = {"first.w": "0.weight", "first.b": "0.bias"}
    module = network()
    torch.save({"first.w": torch.ones(4, 3, 1, 1), "first.b": torch.ones(4)}, tmp_path / "weights.pth")
    assert load_weights(module, tmp_path / "weights.pth", [caffe, other]) is other
    torch.save(network().state_dict(), tmp_path / "own.pth")
    assert load_weights(module, tmp_path / "own.pth", [caffe, other]) is None


def test_matrix_of_a_linear_layer_fills_the_convolution_that_computes_the_same():
    linear, convolution = nn.Linear(2 * 3 * 3, 5), nn.Conv2d(2, 5, 3)
    load_state(convolution, linear.state_dict())
    x = torch.rand(1, 2, 3, 3)
    torch.testing.assert_close(convolution(x).flatten(), linear(x.flatten()))


def test_half_precision_files_fill_float32_modules():
    module = network()
    load_state(module, {name: tensor.half() for name, tensor in network().state_dict().items()})
    assert module[0].weight.dtype == torch.float32


def test_everything_that_does_not_fit_is_listed_and_nothing_copied():
    module, before = network(), network()
    before.load_state_dict(module.state_dict())
    state = network().state_dict()
    del state["0.bias"]
    state["1.weight"] = torch.zeros(5)
    state["fc.weight"] = torch.zeros(1)
    with pytest.raises(ValueError) as error:  # noqa: PT011
        load_state(module, state)
    assert str(error.value) == (
        "missing: 0.bias; unexpected: fc.weight; of another shape: 1.weight is (5,), 1.weight needs (4,)"
    )
    assert same(module, before)


def test_long_lists_are_cut():
    with pytest.raises(ValueError, match=r"unexpected: extra0, .*extra7 and 92 more"):
        load_state(network(), network().state_dict() | {f"extra{i}": torch.zeros(1) for i in range(100)})


def test_only_the_counter_of_batch_norm_may_be_missing():
    module = network()
    state = network().state_dict()
    del state["1.num_batches_tracked"]
    load_state(module, state)
    del state["1.running_mean"]
    with pytest.raises(ValueError, match=r"missing: 1\.running_mean$"):
        load_state(module, state)


def test_key_map_to_nowhere_is_named():
    with pytest.raises(ValueError, match=r"unknown to the module: 7\.weight"):
        load_state(network(), {"w": torch.zeros(1)}, {"w": "7.weight"})


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0, 0.5, 0.95])
def test_truncated_file_is_refused_by_name(tmp_path, suffix, share):
    path = tmp_path / f"cut{suffix}"
    state = network().state_dict()
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=rf"cut\{suffix}.*(truncated|damaged)"):
        load_weights(network(), path)


class Bomb:
    def __reduce__(self):
        return print, ("boom",)


def test_code_in_a_file_is_not_run(tmp_path, capsys):
    torch.save({"0.weight": Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(ValueError, match=r"bomb\.pth.*holds more than tensors"):
        load_weights(network(), tmp_path / "bomb.pth")
    assert "boom" not in capsys.readouterr().out


def test_missing_file_and_file_without_state_dict_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no weights at .*nowhere\.pth"):
        load_weights(network(), tmp_path / "nowhere.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"list\.pth holds no state dict"):
        load_weights(network(), tmp_path / "list.pth")


def test_hash_of_a_local_file_is_checked_too(tmp_path):
    torch.save(network().state_dict(), tmp_path / "weights.pth")
    digest = hashlib.sha256((tmp_path / "weights.pth").read_bytes()).hexdigest()
    load_weights(network(), tmp_path / "weights.pth", sha256=digest.upper())
    with pytest.raises(ValueError, match=rf"weights\.pth is not the file that was asked for: SHA-256 {digest}"):
        load_weights(network(), tmp_path / "weights.pth", sha256="0" * 64)
    with pytest.raises(ValueError, match="64 hexadecimal digits; got 'abc'"):
        load_weights(network(), tmp_path / "weights.pth", sha256="abc")


class Server(ThreadingHTTPServer):
    """Serves `content`, at most `limit` bytes of it a request, with or without ranges; keeps each request's range."""

    daemon_threads = True
    content = b""
    limit = 1 << 30
    ranges = True
    status = 200

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = []
        self.url = f"http://127.0.0.1:{self.server_port}/models/net.pth"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.requests.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.ranges else 0
        if start >= len(server.content):
            self.send_error(416)
            return
        self.send_response(206 if start else server.status)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        self.wfile.write(server.content[start : start + server.limit])

    def log_message(self, *_):
        pass


@pytest.fixture
def saved():
    torch.manual_seed(0)
    return network()


@pytest.fixture
def server(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    buffer = io.BytesIO()
    torch.save(saved.state_dict(), buffer)
    with Server() as server:
        server.content = buffer.getvalue()
        server.sha256 = hashlib.sha256(server.content).hexdigest()
        server.folder = tmp_path / "hub" / "spatialprop"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_downloads_once(server, saved):
    for sha256, address in ((server.sha256, server.url), (None, f"{server.url}#sha256={server.sha256}")):
        loaded = network()
        load_weights(loaded, address, sha256=sha256)
        assert same(loaded, saved)
    assert server.requests == [None]
    assert sorted(path.suffix for path in server.folder.iterdir()) == [".lock", ".pth"]


@pytest.mark.parametrize("ranges", [True, False])
def test_goes_on_where_it_stopped(server, saved, ranges):
    server.limit, server.ranges = 1000, ranges
    with pytest.raises(ConnectionError, match=r"net\.pth stopped after 1000 bytes .*sent 1000 of \d+.*try again"):
        load_weights(network(), server.url, sha256=server.sha256)
    assert not list(server.folder.glob("*.pth"))  # a file has its name only when it is whole
    server.limit = 1 << 30
    loaded = network()
    load_weights(loaded, server.url, sha256=server.sha256)
    assert same(loaded, saved)
    assert server.requests == [None, "bytes=1000-"]
    assert not list(server.folder.glob("*.part"))


def test_whole_part_is_only_checked_and_named(server, saved):
    server.folder.mkdir(parents=True)
    (server.folder / f"{server.sha256[:8]}-net.pth.part").write_bytes(server.content)
    loaded = network()
    load_weights(loaded, server.url, sha256=server.sha256)
    assert same(loaded, saved)


def test_wrong_file_is_refused_and_not_kept(server):
    wrong = "0" * 64
    with pytest.raises(ValueError, match=rf"net\.pth is not the file that was asked for: SHA-256 {server.sha256}, not"):
        load_weights(network(), server.url, sha256=wrong)
    assert [path.suffix for path in server.folder.iterdir()] == [".lock"]


def test_damaged_part_is_thrown_away_and_the_next_try_succeeds(server, saved):
    server.folder.mkdir(parents=True)
    (server.folder / f"{server.sha256[:8]}-net.pth.part").write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match="not the file that was asked for"):
        load_weights(network(), server.url, sha256=server.sha256)
    loaded = network()
    load_weights(loaded, server.url, sha256=server.sha256)
    assert same(loaded, saved)


def test_cached_file_that_was_damaged_is_fetched_again(server, saved):
    load_weights(network(), server.url, sha256=server.sha256)
    path = next(server.folder.glob("*.pth"))
    path.write_bytes(path.read_bytes()[:-1])
    loaded = network()
    load_weights(loaded, server.url, sha256=server.sha256)
    assert same(loaded, saved)
    assert len(server.requests) == 2


def test_address_that_fails_is_named(server):
    server.status = 404
    with pytest.raises(ConnectionError, match=r"cannot download http.*net\.pth: HTTP Error 404"):
        load_weights(network(), server.url, sha256=server.sha256)


def test_address_needs_a_hash_and_http(server):
    with pytest.raises(ValueError, match=r"give the SHA-256 of http.*net\.pth"):
        load_weights(network(), server.url)
    with pytest.raises(ValueError, match=r"file or an http\(s\) address; got ftp:"):
        load_weights(network(), "ftp://example.org/net.pth", sha256="0" * 64)
    assert server.requests == []


def test_those_who_ask_at_once_fetch_a_file_once(server, saved):
    modules = [network() for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda module: load_weights(module, server.url, sha256=server.sha256), modules))
    assert all(same(module, saved) for module in modules)
    assert server.requests == [None]
