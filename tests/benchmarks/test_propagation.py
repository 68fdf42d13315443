"""The benchmark works, and refuses to measure an operator that is wrong."""

import ctypes
import importlib
import json
import math
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spatialprop.ops import DIRECTIONS
from spatialprop.ops.propagation import naive

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def load():
    """Benchmarks are scripts that import each other by name, from their own folder."""
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module
    sys.path.remove(str(BENCHMARKS))


# A quick run


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    command = [sys.executable, str(BENCHMARKS / "propagation.py"), "--quick", "--output", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def results(output):
    return json.loads((output / "propagation_cpu.json").read_text())


def numbers(tree):
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, list):
        for branch in tree:
            yield from numbers(branch)
    elif isinstance(tree, (int, float)) and not isinstance(tree, bool):
        yield tree


@pytest.mark.slow
def test_every_figure_is_finite(results):
    assert len(list(numbers(results))) > 100
    assert all(math.isfinite(number) for number in numbers(results))


@pytest.mark.slow
def test_results_have_all_fields(results):
    assert results.keys() == {
        "machine", "date", "quick", "method", "correctness", "copy", "cases", "normalization", "linearity",
        "first_call", "torch_compile"
    }  # fmt: skip
    assert {"processor", "cores", "threads", "torch", "numba", "last_level_cache_MiB"} <= results["machine"].keys()
    assert {"GB_per_s", "GB_per_s_quartiles", "into_fresh_memory_GB_per_s"} <= results["copy"].keys()
    assert set(results["correctness"]["largest_error_over_allowed"]) == {"float64", "float32", "bfloat16", "float16"}
    for case in results["cases"]:
        assert {"shape", "gates", "connection", "dtype", "passes", "memory"} == case.keys()
        assert {"peak_bytes", "floor_bytes", "times_floor"} == case["memory"].keys()
        assert [row["pass"] for row in case["passes"]] == ["forward", "forward + backward"]
        for row in case["passes"]:
            assert {"median_ms", "low_ms", "high_ms", "runs"} == row["spatialprop"].keys()
            assert row["spatialprop"]["low_ms"] <= row["spatialprop"]["median_ms"] <= row["spatialprop"]["high_ms"]
            assert row["times_floor"] == pytest.approx(row["spatialprop"]["median_ms"] / row["floor_ms"])
            assert ("column_loop" in row["rivals"]) == (case["dtype"] == "float32")
    assert {case["connection"] for case in results["cases"]} == {"one-way", "three-way"}
    for row in results["normalization"]:
        for operator in ("ready", "before", "clamp", "unit", "stochastic"):
            assert row[operator]["median_ms"] > 0
    assert {fit["connection"] for fit in results["linearity"]["fits"]} == {"one-way", "three-way"}
    assert results["first_call"]["cached"]["forward"]["first_call_s"] > 0
    assert results["torch_compile"]["forward"] == "does not compile within 1 s"


@pytest.mark.slow
def test_outputs_name_neither_machine_nor_folder(output):
    for path in output.glob("*.*"):
        if path.suffix != ".png":
            text = path.read_text()
            assert str(output) not in text
            assert str(BENCHMARKS) not in text
            assert len(platform.node()) < 4 or platform.node() not in text


@pytest.mark.slow
def test_writes_table_and_plot_and_leaves_nothing_half_written(output):
    text = (output / "propagation_cpu.md").read_text()
    assert "| 1x4x24x20 | per channel | three-way | float32 | forward |" in text
    names = {path.name for path in output.iterdir()}
    assert names - {"propagation_cpu.png"} == {"propagation_cpu.json", "propagation_cpu.md"}


@pytest.mark.slow
def test_plot(load, results, tmp_path):
    pytest.importorskip("matplotlib")
    load("propagation_report").plot(results, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_plot_says_how_to_get_matplotlib(load, results, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "pip install" in load("propagation_report").plot(results, tmp_path / "plot.png")
    assert not (tmp_path / "plot.png").exists()


# Wrong operators


def right(x, gates, *, directions=None, merge="max", normalize=None):
    return naive.propagate(x, gates, directions or DIRECTIONS, merge, normalize)


def swapped_gates(x, gates, **options):
    return right(x, gates.flip(2), **options)


def wrong_gradient(x, gates, **options):
    h = right(x, gates, **options)
    return h.detach() + 0.999 * (h - h.detach())


def last_direction_wins_ties(x, gates, *, directions, merge="max"):
    if merge != "max":
        return right(x, gates, directions=directions, merge=merge)
    return right(x, gates.flip(1), directions=directions[::-1])


def last_column_left_unwritten(x, gates, **options):
    h = right(x, gates, **options)
    out = torch.empty_like(h)
    out[..., :-1] = h[..., :-1]
    return out


def another_result_each_time(x, gates, **options):
    return right(x, gates, **options) * (1 + torch.finfo(x.dtype).eps * torch.rand_like(x[:1, :1]))


def writes_to_its_input(x, gates, **options):
    h = right(x, gates, **options)
    x.data.abs_()
    return h


def half_precision_state(x, gates, *, directions, merge="max"):
    maps = []
    for d, name in enumerate(directions):
        h = naive.to_rightward(x, name).unbind(-1)
        g = naive.to_rightward(gates[:, d], name).repeat_interleave(x.shape[1] // gates.shape[3], dim=2)
        inside = naive.neighbour_inside(g.shape[1], h[0].shape[-1], x.device)
        lines = [h[0]]
        for t in range(1, len(h)):
            gate = torch.where(inside, g[..., t], 0)
            heard = (gate * naive.neighbours(lines[-1], g.shape[1])).sum(1)
            lines.append((1 - gate.sum(1)) * h[t] + heard)
        maps.append(naive.from_rightward(torch.stack(lines, dim=-1), name))
    if merge == "none":
        return torch.stack(maps, dim=1)
    return sum(maps) / len(maps) if merge == "mean" else naive.first_maximum(maps)


def sums_no_absolute_values(x, gates, *, normalize=None, **options):
    if normalize is not None:
        gates = gates / gates.sum(2, keepdim=True).clamp(min=1)
    return right(x, gates, **options)


WRONG = {
    swapped_gates: "output is off",
    wrong_gradient: "gradient of x is off",
    last_direction_wins_ties: "the first one does not get the whole gradient",
    last_column_left_unwritten: "off by nan",
    another_result_each_time: "two runs differ",
    writes_to_its_input: "an input was written to",
    half_precision_state: "bfloat16",
    sums_no_absolute_values: "normalize='clamp'",
}


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_stops_when_the_operator_is_wrong(load, wrong, monkeypatch, tmp_path):
    benchmark = load("propagation")
    monkeypatch.setattr(benchmark, "propagate", wrong)
    with pytest.raises(SystemExit, match=f"propagate is wrong, so nothing was measured: .*{WRONG[wrong]}"):
        benchmark.main(["--quick", "--output", str(tmp_path)])
    assert not list(tmp_path.iterdir())


def test_right_operator_passes_the_checks(load):
    load("propagation_checks").check_everywhere(right, torch.device("cpu"), quick=True)


def test_refuses_a_gpu_that_is_not_there(load, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="needs a GPU"):
        load("propagation").main(["--device", "cuda"])


# Its parts


def test_floor_counts_tensors(load):
    case = load("propagation_cases").Case((1, 32, 64, 64), 32, "three-way")
    assert case.floor_bytes(backward=False) == 14 * case.map_bytes
    assert case.floor_bytes(backward=True) == 41 * case.map_bytes
    assert case.memory_floor_bytes == 28 * case.map_bytes


@pytest.mark.parametrize(("fused", "forward", "both"), [(True, 23, 87.25), (False, 25, 91.25)])
def test_moved_bytes_are_those_in_the_kernels_header(load, fused, forward, both):
    load_cases = load("propagation_cases")
    case = load_cases.Case((16, 8, 64, 64), 8, "three-way")
    assert load_cases.bytes_moved(case, False, fused) == forward * case.map_bytes
    # 64 or 66 for backward, and a quarter to write down the winners.
    assert load_cases.bytes_moved(case, True, fused) == both * case.map_bytes


def test_interleave_takes_turns_and_counts(load):
    order = []
    contenders = {name: lambda turn, name=name: order.append((name, turn)) for name in "ab"}
    times = load("measure").interleave(contenders, lambda run: run() or 0.02, seconds=0.1)
    assert {name: len(taken) for name, taken in times.items()} == {"a": 5, "b": 5}
    assert [name for name, _ in order] == list("aabb" + "ab" * 5)
    assert [turn for name, turn in order if name == "a"] == list(range(1, 8))


def test_interleave_keeps_a_single_run_of_the_slow(load):
    assert load("measure").interleave({"slow": lambda _: None}, lambda _: 9.0, seconds=1) == {"slow": [9.0]}


def test_exponent(load):
    assert load("measure").exponent([1, 10, 100], [3, 3e2, 3e4]) == pytest.approx(2)


@pytest.mark.skipif(platform.system() != "Linux", reason="the high-water mark is Linux's")
def test_peak_memory_sees_what_is_freed_again():
    # In a process of its own: what other tests left behind, to be freed just then, would be taken off.
    code = """
import measure, torch

def prepare():
    one = torch.ones(2**24)  # 64 MiB

    def run():
        two = one + 1
        del two
        return one

    return run

print(measure.peak_memory(prepare, torch.device("cpu")))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=BENCHMARKS, capture_output=True, text=True, check=True)
    assert int(done.stdout) == pytest.approx(2**27, rel=0.1)


# The launch-per-column rival, its very source run on the host

HOST = """
#include <cstddef>
#include <utility>
#define __global__
#define __device__
struct Size { unsigned x; };
static Size blockIdx, blockDim, threadIdx;
#include "launch_per_column.cu"

template <class... A, size_t... I>
void every_thread(void (*kernel)(A...), unsigned threads, const long long* values, std::index_sequence<I...>) {
    blockDim.x = 32;
    for (unsigned thread = 0; thread < (threads + 31) / 32 * 32; ++thread) {
        blockIdx.x = thread / 32, threadIdx.x = thread % 32;
        kernel((A)values[I]...);
    }
}

template <class... A>
void run(void (*kernel)(A...), unsigned threads, const long long* values) {
    every_thread(kernel, threads, values, std::index_sequence_for<A...>{});
}

extern "C" void host_forward_line(unsigned threads, const long long* values) { run(forward_line, threads, values); }
extern "C" void host_backward_line(unsigned threads, const long long* values) { run(backward_line, threads, values); }
"""


@pytest.fixture(scope="module")
def host_launch(tmp_path_factory):
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++")
    folder = tmp_path_factory.mktemp("host")
    (folder / "host.cpp").write_text(HOST)
    library = folder / "host.so"
    command = [compiler, "-std=c++17", "-O1", "-shared", "-fPIC", f"-I{BENCHMARKS}", "host.cpp", "-o", library.name]
    subprocess.run(command, cwd=folder, check=True)
    loaded = ctypes.CDLL(str(library))

    def launch(name, threads, arguments):
        getattr(loaded, f"host_{name}")(threads, (ctypes.c_longlong * len(arguments))(*arguments))

    return launch


@pytest.mark.parametrize("connection", [1, 3])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_launch_per_column_is_right(load, host_launch, connection, groups):
    rivals = load("rivals")
    x = torch.randn(2, 4, 6, 9, requires_grad=True)
    gates = (torch.rand(2, 4, connection, groups, 6, 9) * 2 - 1).div(connection).requires_grad_()
    # Where maps tie, at the corners, the rival shares the gradient out.
    grad = torch.randn_like(x)
    grad[..., ::5, ::8] = 0
    blocks = [block.contiguous() for block in gates.unbind(1)]
    out = rivals.launch_per_column(x, blocks, host_launch)
    expected = rivals.column_loop(x, gates)
    torch.testing.assert_close(out, expected)
    for value, reference in zip(
        torch.autograd.grad(out, (x, gates), grad), torch.autograd.grad(expected, (x, gates), grad), strict=True
    ):
        torch.testing.assert_close(value, reference)
