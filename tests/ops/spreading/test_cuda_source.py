"""spread.cu, proven without a GPU as propagate.cu is: compiled for real GPUs, and its very text run on the host."""

import shutil

import pytest
import torch

from spatialprop.ops.machine.cuda_launch import layout_of, read_source, type_options
from spatialprop.ops.spreading import cuda, naive
from tests.cases import ALL_DTYPES, LAYOUTS, slow
from tests.ops.machine.cuda_host.gpu_compiler import compile_for_gpu, require
from tests.ops.machine.cuda_host.host import (
    ORDERS,
    SHUFFLED,
    SURVIVES,
    Host,
    Watched,
    build,
    is_caught,
    kernels_of,
    mutate,
    verdict,
)
from tests.ops.machine.cuda_host.spread import Spread
from tests.spread_cases import NEIGHBOURHOODS, assert_right, neighbours_in_words, spread_case

SOURCE = read_source(cuda.SOURCE)
JUDGE = "tests.ops.machine.cuda_host.spread"


@pytest.mark.parametrize("capability", [75, slow(80), slow(90), slow(100)])
@pytest.mark.parametrize("dtype", [torch.float32, *map(slow, (torch.float64, torch.bfloat16, torch.float16))], ids=str)
def test_compiles_without_spilling(dtype, capability):
    kernels = compile_for_gpu(SOURCE, type_options(dtype), capability)
    assert sorted(kernel.name for kernel in kernels) == sorted(kernels_of(SOURCE))
    for kernel in kernels:
        assert kernel.stack_bytes == kernel.spilled_bytes == 0
        assert kernel.registers <= 128  # two blocks to a multiprocessor, at least


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    require(shutil.which("g++") is not None, "g++")
    built = {}

    def get(dtype: torch.dtype) -> Spread:
        if dtype not in built:
            built[dtype] = Spread(Host(build(tmp_path_factory.mktemp("spread"), SOURCE, type_options(dtype))))
        return built[dtype]

    return get


def naive_results(x, affinity, dilations, kernel, steps, grad):
    x, affinity = x.detach().clone().requires_grad_(), affinity.detach().clone().requires_grad_()
    out = naive.spread(x, affinity, dilations, kernel, steps)
    return [out.detach(), *torch.autograd.grad(out, (x, affinity), grad.to(out.dtype))]


def upstream(x):
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64).to(x.dtype)


def check(host, x, affinity, *options):
    grad = upstream(x)
    results = host.results(x, affinity, *options, grad)
    plain = naive_results(x, affinity, *options, grad)
    exact = naive_results(x.double(), affinity.double(), *options, grad.double())
    for trio in zip(results, plain, exact, strict=True):
        assert_right(*trio)


@pytest.mark.parametrize("steps", [1, slow(2), 4])
@pytest.mark.parametrize(("size", "dilations", "kernel"), NEIGHBOURHOODS, ids=str)
def test_every_size_and_neighbourhood(host, size, dilations, kernel, steps):
    x, affinity = spread_case(2, 3, *size, neighbours=len(neighbours_in_words(dilations, kernel)))
    check(host(torch.float64), x, affinity, dilations, kernel, steps)


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
@pytest.mark.parametrize("channels", [1, 8, 19])
def test_every_dtype_and_chunk_of_channels(host, channels, dtype):
    x, affinity = spread_case(1, channels, 10, 35, neighbours=16, dtype=dtype)
    check(host(dtype), x, affinity, [1, 6], 3, 3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_strides(host, layout):
    x, affinity = spread_case(2, 3, 9, 18, neighbours=8)
    x, affinity, grad = (LAYOUTS[layout](tensor) for tensor in (x, affinity, upstream(x)))
    results = host(torch.float64).results(x, affinity, [2], 3, 3, grad)
    for result, expected in zip(results, naive_results(x, affinity, [2], 3, 3, grad), strict=True):
        torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("needs", [(True, False), (False, True)])
@pytest.mark.parametrize("steps", [1, 3])
def test_only_what_is_needed(host, steps, needs):
    x, affinity = spread_case(1, 3, 9, 18, neighbours=8)
    grad = upstream(x)
    results = host(torch.float64).backward(grad, x, affinity, [2], 3, steps, need_x=needs[0], need_affinity=needs[1])
    for result, expected, needed in zip(
        results, naive_results(x, affinity, [2], 3, steps, grad)[1:], needs, strict=True
    ):
        if needed:
            torch.testing.assert_close(result, expected)
        else:
            assert result.shape == (0,)


def test_affinity_to_the_outside_never_matters(host):
    x, affinity = spread_case(1, 2, 9, 20, neighbours=8)
    affinity[:, :3, 0] = affinity[:, 5:, -1] = torch.nan  # above the first row, below the last
    check(host(torch.float64), x, affinity, [1], 3, 3)


def test_the_order_of_threads_and_blocks_changes_no_bit(host):
    x, affinity = spread_case(2, 9, 19, 43, neighbours=16, dtype=torch.float32)
    runs = [host(torch.float32).results(x, affinity, [1, 4], 3, 3, upstream(x), o) for o in (*ORDERS, SHUFFLED + 1)]
    for other in runs[1:]:
        assert all(map(torch.equal, runs[0], other))


@pytest.mark.parametrize("dtype", [torch.float32, slow(torch.bfloat16)], ids=str)
def test_threads_neither_race_nor_stray(tmp_path, dtype):
    require(shutil.which("g++") is not None, "g++")
    library = Spread(Watched(build(tmp_path, SOURCE, type_options(dtype), watch=True)))
    for layout, size, steps in [("contiguous", (1, 1), 3), ("stepped", (9, 34), 3), ("transposed", (5, 7), 1)]:
        x, affinity = spread_case(2, 9, *size, neighbours=16, dtype=dtype)
        x, affinity = LAYOUTS[layout](x), LAYOUTS[layout](affinity)
        library.results(x, affinity, [1, 4], 3, steps, upstream(x))


def test_more_neighbours_than_a_launch_can_name():
    x = torch.rand(1, 1, 4, 4)
    with pytest.raises(
        ValueError,
        match=r"at most 256 neighbours: .* is 264\. Use fewer dilations, a smaller kernel, or backend='naive'",
    ):
        cuda.plan_forward(layout_of(x), layout_of(torch.rand(1, 264, 4, 4)), tuple(range(1, 34)), 3, 1)


MUTANTS = {
    "ignores the border of rows": ("(unsigned)(row + down) < (unsigned)call.height &&", ""),
    "ignores the border of columns": ("&& (unsigned)(column + right) < (unsigned)call.width", ""),
    "mixes up rows and columns": ("(row + down) * strides[2]", "(row + right) * strides[2]"),
    "leaves the pixel itself out of the average": ("State total = 1, sum[CHUNK]", "State total = 0, sum[CHUNK]"),
    "does not average": ("BACKWARD ? State(1) : 1 / total", "State(1)"),
    "takes the neighbours of the forward pass": ("BACKWARD ? -call.offsets[k][0] :", "BACKWARD ? call.offsets[k][0] :"),
    "scales by its own sum": ("call.scales[pixel.at(0, 1, down, right)]", "own_weight"),
    "takes the affinity of the wrong end": ("pixel.affinity(k, down, right)", "pixel.affinity(k)"),
    "flips a sign": ("down, right)]) - own)", "down, right)]) + own)"),
    "forgets earlier steps": ("call.fresh ? gradient", "true ? gradient"),
    "adds to what was never written": ("call.fresh ? gradient", "false ? gradient"),
    "does not scale the gradient": ("inside ? scale * sum[i]", "inside ? sum[i]"),
    "leaves out the last channel": ("c < call.channels; ++c", "c + 1 < call.channels; ++c"),
    "takes only the first chunk": ("(long long)blockIdx.y * CHUNK, next", "0, next"),
}  # fmt: skip


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Small cases in which every part of the kernels takes part, with what naive makes of them, in a file."""
    cases = []
    for channels, size, dilations, kernel, steps in [(9, (6, 35), [1, 3], 3, 3), (2, (9, 5), [2], 5, 1)]:
        x, affinity = spread_case(1, channels, *size, neighbours=len(neighbours_in_words(dilations, kernel)))
        grad = upstream(x)
        expected = naive_results(x, affinity, dilations, kernel, steps, grad)
        cases.append((x, affinity, dilations, kernel, steps, grad, expected))
    path = tmp_path_factory.mktemp("mutants") / "cases.pt"
    torch.save(cases, path)
    return path


def judge(source, tmp_path, cases):
    require(shutil.which("g++") is not None, "g++")
    return verdict(JUDGE, build(tmp_path, source, type_options(torch.float64), "-O0"), cases)


def test_the_source_itself_survives(tmp_path, cases):
    assert judge(SOURCE, tmp_path, cases) == SURVIVES


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_caught(name, tmp_path, cases):
    assert is_caught(judge(mutate(SOURCE, *MUTANTS[name]), tmp_path, cases))
