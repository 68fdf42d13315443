"""propagate.cu, proven without a GPU: compiled for real architectures, and its very text run on the host.

The host runs a block's threads one after the other between barriers, in any order: see cuda_host/host_cuda.h.
"""

import shutil

import pytest
import torch

from spatialprop.ops.contract import DIRECTIONS, DTYPES
from spatialprop.ops.machine.cuda_launch import Gpu, layout_of, read_source
from spatialprop.ops.propagation import cuda, naive
from tests.cases import LAYOUTS, MERGES, assert_as_accurate, integer_case, random_case, slow
from tests.ops.machine.cuda_host.gpu_compiler import compile_for_gpu, require
from tests.ops.machine.cuda_host.host import (
    ASCENDING,
    DESCENDING,
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
from tests.ops.machine.cuda_host.propagate import GPUS, SMALL_FUSED, Propagate

SOURCE = read_source(cuda.SOURCE)
JUDGE = "tests.ops.machine.cuda_host.propagate"


# Compiled for GPUs.


CAPABILITIES = [75, 80, 90, 100]
VARIANTS = [
    *((capability, dtype, 3, False, True) for capability in CAPABILITIES for dtype in DTYPES),
    *((90, dtype, 1, False, True) for dtype in DTYPES),
    *((90, dtype, 3, False, False) for dtype in DTYPES),
    (75, torch.float64, 3, True, False),
    (90, torch.float32, 3, True, True),
]
QUICK = (90, torch.bfloat16, 3, False, True)


@pytest.mark.parametrize(
    ("capability", "dtype", "connection", "wide", "packed"), [one if one == QUICK else slow(*one) for one in VARIANTS]
)
def test_compiles_without_spilling(capability, dtype, connection, wide, packed):
    piece = 16 // dtype.itemsize if packed else 1
    options = cuda.compile_options(dtype, connection, wide, piece=piece)
    kernels = compile_for_gpu(SOURCE, options, capability)
    assert sorted(kernel.name for kernel in kernels) == sorted(kernels_of(SOURCE))
    for kernel in kernels:
        assert kernel.stack_bytes == kernel.spilled_bytes == 0
        # Three blocks of 128 threads share a multiprocessor in the forward pass, at least two everywhere. For
        # capability 100 the compiler takes 189 registers in float32, and two blocks have to do.
        three = kernel.name != "propagate_backward" and dtype != torch.float64 and capability < 100
        assert kernel.registers <= 65536 // (384 if three else 256)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", [(1, 1), (64, 64), (188, 250), (1024, 1024), (3, 5000), (20_000, 20_000)])
def test_tiles_fit_every_gpu(size, dtype):
    for shared, per_multiprocessor in [(64 << 10, 64 << 10), (163 << 10, 164 << 10), (227 << 10, 228 << 10)]:
        tiles = cuda.plan_tiles((1, 1, *size), 3, dtype, range(4), Gpu(100, shared, per_multiprocessor))
        assert tiles.shared <= shared
        assert per_multiprocessor // (tiles.shared + 1024) >= 2  # blocks that share a multiprocessor
        assert tiles.threads in (32, 64, 128, 256)
        for band, chunk in zip(tiles.log2_band, tiles.log2_chunk, strict=True):
            assert 16 // dtype.itemsize <= 1 << band <= tiles.threads
            assert 16 // dtype.itemsize <= 1 << chunk


def test_bands_of_halves_are_as_large():
    gpu = Gpu(132, 227 << 10, 228 << 10)
    single, half = (cuda.plan_tiles((16, 8, 1024, 1024), 3, t, range(4), gpu) for t in (torch.float32, torch.bfloat16))
    assert single == half
    assert single.log2_band == (7, 7)


def test_pieces_need_aligned_rows():
    x, gates = torch.empty(2, 4, 8, 24), torch.empty(2, 4, 3, 1, 8, 24)

    def piece(x, gates):
        return cuda.piece_of(layout_of(x), layout_of(gates))

    assert piece(x, gates) == 4
    assert piece(x.bfloat16(), gates.bfloat16()) == 8
    assert piece(x.expand(2, 4, 8, 24), gates[:1].expand(2, -1, -1, -1, -1, -1)) == 4
    assert piece(x[..., :22], gates[..., :22]) == 1  # the last piece of a row would jut out
    assert piece(x[..., 1:21], gates[..., 1:21]) == 1  # the address
    assert piece(torch.empty(2, 4, 8, 26)[..., :24], gates) == 1  # the step from row to row
    assert piece(x, gates.mT.contiguous().mT) == 1


# Plans are kept.


def test_a_call_like_one_before_finds_its_plan():
    gpu = Gpu(132, 227 << 10, 228 << 10)

    def plan(x, gates, directions=(0, 1)):
        return cuda.plan_forward(layout_of(x), layout_of(gates), directions, "max", True, None, gpu)

    x, gates = random_case(1, 2, 16, 24, directions=DIRECTIONS[:2])
    first = plan(x, gates)
    assert plan(x.clone(), gates.clone()) is first
    assert plan(x.mT.contiguous().mT, gates) is not first
    assert plan(x, gates, (1, 0)) is not first


def test_two_calls_by_one_plan_do_not_meet(host):
    one, other = (random_case(1, 2, 16, 24, dtype=torch.float32, seed=seed) for seed in (1, 2))
    library = host(torch.float32, 3)
    first, _ = library.forward(*one, DIRECTIONS, "mean", False, GPUS["fused"])
    kept = first.clone()
    library.forward(*other, DIRECTIONS, "mean", False, GPUS["fused"])
    assert torch.equal(first, kept)


# Run on the host.


@pytest.fixture(scope="session")
def host(tmp_path_factory):
    require(shutil.which("g++") is not None, "g++")
    built = {}

    def get(dtype: torch.dtype, connection: int, wide: bool = False) -> Propagate:
        key = (dtype, connection, wide)
        if key not in built:
            built[key] = Propagate(
                lambda piece: Host(
                    build(tmp_path_factory.mktemp("cuda_host"), SOURCE, cuda.compile_options(*key, piece=piece))
                )
            )
        return built[key]

    return get


def naive_results(x, gates, directions, merge, grad):
    x, gates = x.detach().clone().requires_grad_(), gates.detach().clone().requires_grad_()
    out = naive.propagate(x, gates, directions, merge)
    return [out.detach(), *torch.autograd.grad(out, (x, gates), grad.to(out.dtype))]


def upstream(x, directions, merge):
    batch, *rest = x.shape
    shape = (batch, len(directions), *rest) if merge == "none" else x.shape
    return torch.randn(shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64).to(x.dtype)


def check(host, x, gates, directions, merge, gpu, order=ASCENDING):
    grad = upstream(x, directions, merge)
    results = host.results(x, gates, directions, merge, grad, gpu, order)
    plain = naive_results(x, gates, directions, merge, grad)
    exact = naive_results(x.double(), gates.double(), directions, merge, grad.double())
    for result, expected, truth in zip(results, plain, exact, strict=True):
        assert_as_accurate(result, expected, truth)


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("connection", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (3, 5), (17, 33), (18, 34), slow((40, 21))], ids=str)
@pytest.mark.parametrize("groups", [slow(4), 2, 1])
def test_every_size_and_sharing(host, groups, size, connection, gpu):
    x, gates = random_case(2, 4, *size, groups=groups, connection=connection, dtype=torch.float64)
    for merge in MERGES:
        check(host(torch.float64, connection), x, gates, DIRECTIONS, merge, GPUS[gpu])


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize(
    ("dtype", "connection"),
    [
        (torch.float32, 3),
        (torch.bfloat16, 3),
        *(
            slow(dtype, connection)
            for dtype, connection in [(torch.float64, 3), (torch.float16, 3), *((dtype, 1) for dtype in DTYPES)]
        ),
    ],
)
def test_every_dtype(host, connection, dtype, gpu):
    # Whole numbers, so that no two precisions disagree about who is the maximum.
    x, gates = integer_case(2, 2, 19, 35, connection=connection, dtype=dtype)
    grad = upstream(x, DIRECTIONS, "max").round()
    results = host(dtype, connection).results(x, gates, DIRECTIONS, "max", grad, GPUS[gpu])
    for result, expected in zip(results, naive_results(x, gates, DIRECTIONS, "max", grad), strict=True):
        assert torch.equal(result, expected)
    x, gates = random_case(2, 2, 19, 35, connection=connection, dtype=dtype)
    for merge in ("mean", "none"):
        check(host(dtype, connection), x, gates, DIRECTIONS, merge, GPUS[gpu])


@pytest.mark.slow
@pytest.mark.parametrize("gpu", ["fused", "split"])
def test_leaning_bands_of_full_size(host, gpu):
    x, gates = random_case(1, 1, 300, 520, dtype=torch.float32)
    check(host(torch.float32, 3), x, gates, DIRECTIONS, "mean", GPUS[gpu])


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("directions", [("left",), ("up", "right"), ("left", "down", "right")], ids=str)
def test_any_directions_in_any_order(host, directions, gpu):
    x, gates = random_case(1, 3, 13, 22, directions=directions)
    for merge in MERGES:
        check(host(torch.float64, 3), x, gates, directions, merge, GPUS[gpu])


@pytest.mark.parametrize("gpu", ["fused_small", "split"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_strides(host, layout, gpu):
    x, gates = random_case(2, 4, 13, 18)
    x, gates = LAYOUTS[layout](x), LAYOUTS[layout](gates)
    grad = LAYOUTS[layout](upstream(x, DIRECTIONS, "max"))
    results = host(torch.float64, 3).results(x, gates, DIRECTIONS, "max", grad, GPUS[gpu])
    for result, expected in zip(results, naive_results(x, gates, DIRECTIONS, "max", grad), strict=True):
        torch.testing.assert_close(result, expected)


@pytest.mark.slow
def test_offsets_of_64_bits_give_the_same(host):
    x, gates = random_case(1, 2, 20, 37)
    check(host(torch.float64, 3, True), x, gates, DIRECTIONS, "max", SMALL_FUSED)
    huge = torch.empty(1).expand(1, 1, 50_000, 50_000)
    assert cuda.needs_wide_index(layout_of(huge), layout_of(huge[:, None, None]), connection=1)
    assert not cuda.needs_wide_index(layout_of(x), layout_of(gates), connection=3)


@pytest.mark.parametrize("gpu", GPUS)
def test_nan_spreads_and_border_gates_do_not(host, gpu):
    x, gates = random_case(1, 2, 14, 21)
    gates[:, 0, :, :, :, 0] = torch.nan  # "right": the first column has no neighbours
    gates[:, 0, 0, :, 0, :] = torch.nan  # and the first row has no neighbour above
    gates[:, 1, 2, :, :, -1] = torch.inf  # "down": the last column has none to its right
    check(host(torch.float64, 3), x, gates, DIRECTIONS, "max", GPUS[gpu])
    x[0, 0, 5, 6] = torch.nan
    out, _ = host(torch.float64, 3).forward(x, gates, DIRECTIONS, "max", True, GPUS[gpu])
    torch.testing.assert_close(out, naive.propagate(x, gates, DIRECTIONS, "max"), equal_nan=True)


@pytest.mark.parametrize("gpu", GPUS)
def test_infinity_spreads_as_in_the_naive_form(host, gpu):
    x, gates = random_case(1, 2, 14, 21)
    x[0, 0, 5, :] = -torch.inf
    x[0, 1, [0, 3, 13], [20, 0, 7]] = torch.inf
    out, _ = host(torch.float64, 3).forward(x, gates, DIRECTIONS, "none", False, GPUS[gpu])
    torch.testing.assert_close(out, naive.propagate(x, gates, DIRECTIONS, "none"), equal_nan=True)


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("connection", [1, 3])
def test_constant_maps_tie_everywhere(host, connection, gpu):
    x, gates = random_case(1, 2, 14, 21, connection=connection, dtype=torch.float32)
    x = torch.full_like(x, 0.7)
    out, winner = host(torch.float32, connection).forward(x, gates, DIRECTIONS, "max", True, GPUS[gpu])
    assert torch.equal(out, x)
    assert winner.count_nonzero() == 0


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("needs", [(True, False), (False, True)])
def test_only_what_is_needed(host, needs, gpu):
    for groups in (2, 1):
        x, gates = random_case(2, 2, 11, 19, groups=groups)
        grad = upstream(x, DIRECTIONS, "max")
        library = host(torch.float64, 3)
        _, winner = library.forward(x, gates, DIRECTIONS, "max", True, GPUS[gpu])
        results = library.backward(
            grad, x, gates, winner, DIRECTIONS, "max", GPUS[gpu], need_x=needs[0], need_gates=needs[1]
        )
        for result, expected, needed in zip(
            results, naive_results(x, gates, DIRECTIONS, "max", grad)[1:], needs, strict=True
        ):
            if needed:
                torch.testing.assert_close(result, expected)
            else:
                assert result.shape == (0,)


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("groups", [2, 1])
@pytest.mark.parametrize("connection", [1, 3])
def test_the_order_of_threads_and_blocks_changes_no_bit(host, connection, groups, gpu):
    x, gates = random_case(2, 2, 29, 43, groups=groups, connection=connection, dtype=torch.float32)
    grad = upstream(x, DIRECTIONS, "max")
    runs = [
        host(torch.float32, connection).results(x, gates, DIRECTIONS, "max", grad, GPUS[gpu], order)
        for order in (ASCENDING, DESCENDING, SHUFFLED, SHUFFLED + 1)
    ]
    for other in runs[1:]:
        assert all(map(torch.equal, runs[0], other))


@pytest.mark.parametrize(("dtype", "connection"), [slow(torch.float32, 1), (torch.float32, 3), slow(torch.bfloat16, 3)])
def test_threads_neither_race_nor_stray(tmp_path, dtype, connection):
    require(shutil.which("g++") is not None, "g++")

    def watched(piece):
        options = cuda.compile_options(dtype, connection, False, piece=piece)
        return Watched(build(tmp_path, SOURCE, options, watch=True))

    library = Propagate(watched)
    for groups, layout in [(4, "stepped"), (2, "contiguous"), (1, "transposed")]:
        for size in [(1, 1), (1, 9), (9, 1), (22, 35), (21, 32)]:
            x, gates = random_case(1, 4, *size, groups=groups, connection=connection, dtype=dtype)
            x, gates = LAYOUTS[layout](x), LAYOUTS[layout](gates)
            for merge in MERGES:
                for gpu in GPUS.values():
                    library.results(x, gates, DIRECTIONS, merge, upstream(x, DIRECTIONS, merge), gpu)


@pytest.mark.parametrize("barrier", [0, *map(slow, range(1, SOURCE.count("__syncthreads();")))])
def test_without_a_barrier_threads_race(tmp_path, barrier):
    require(shutil.which("g++") is not None, "g++")
    source = mutate(SOURCE, "__syncthreads();", barrier)
    options = cuda.compile_options(torch.float32, 3, False, piece=4)
    library = Propagate(lambda _: Watched(build(tmp_path, source, options, watch=True)))

    def run():
        for size in ((22, 36), (5, 300)):  # of the second, bands wait for each other
            x, gates = random_case(1, 4, *size, dtype=torch.float32)
            for gpu in (SMALL_FUSED, GPUS["split_small"]):
                library.results(x, gates, DIRECTIONS, "max", upstream(x, DIRECTIONS, "max"), gpu)

    with pytest.raises(AssertionError, match=r"races for shared memory|reads before anybody writes shared memory"):
        run()


# Mutants: each must be caught by the checks above, or they prove nothing.

BARRIERS = SOURCE.count("__syncthreads();")
MUTANTS = {
    "ignores the border of rows": (
        "return (unsigned)source_row < (unsigned)call.height & (unsigned)source_column < (unsigned)call.width;",
        "return (unsigned)source_column < (unsigned)call.width;",
    ),
    "ignores the border of columns": (
        "return (unsigned)source_row < (unsigned)call.height & (unsigned)source_column < (unsigned)call.width;",
        "return (unsigned)source_row < (unsigned)call.height;",
    ),
    "swaps gates": ("given[k] = widen(loaded.gate[k][i]);", "given[k] = widen(loaded.gate[K - 1 - k][i]);"),
    "flips the sign of the own share's gradient": ("own_share[i] -= at(k", "own_share[i] += at(k"),
    "flips the sign of x in the gradient of gates": (
        "(gradient[k][i] - widen(own[i]))",
        "(gradient[k][i] + widen(own[i]))",
    ),
    "gives a tie to the last": ("return value > best ||", "return value >= best ||"),
    "loses NaN": ("value > best || (value != value && best == best)", "value > best"),
    "forgets the line before a tile": ("*line = line[count * pitch];", "(void)line;"),
    "forgets the edge of a band": ("*edge(b, t0 + i / 2, a, i % 2) = at(", "(void)at("),
    "does not divide the gradient of a mean": ("if (BACKWARD && call.merge == MEAN) own /= call.directions;", ""),
    "sends the gradient to losers": ("loaded.won[i] != d ?", "false ?"),
    "takes the wrong group": ("c / ((unsigned)call.channels / (unsigned)call.groups);", "c % (unsigned)call.groups;"),
    "leaves out a channel of a group": ("c < channels;", "c + 1 < channels;"),
    "keeps the last direction (fused)": (": wins ? value[i] : before[i];", ": value[i];"),
    "keeps the last direction (split)": (": wins ? value : merged;", ": value;"),
    "takes border pieces for inner ones": ("bool inner = first.in_image;", "return first.in_image; bool inner;"),
    "takes torn pieces for packed ones": (
        "first.in_image & last.in_image & first.row == last.row &",
        "first.in_image & last.in_image |",
    ),
    "reverses pieces": ("[ascends ? i * apart : -i * apart]", "[i * apart]"),
    "takes the pixel beside a piece from the other side": (
        "shift < 0 ? first.column - 1 :",
        "shift > 0 ? first.column - 1 :",
    ),
    "leans the wrong way": ("p = b * band + pixel.r - skew * t;", "p = b * band + pixel.r + skew * t;"),
    "does not wait for the band before": ("if (call.progress && b > 0) wait_until(", "if (false) wait_until("),
    "waits for a tile too few": ("t0 + count < end(b - 1) ? t0 + count", "t0 + count < end(b - 1) ? t0"),
    "tells of lines before they are finished": (
        "publish(progress + b, t0 + count)",
        "publish(progress + b, t0 + 2 * count)",
    ),
    "never tells what is finished": ("if (call.progress && threadIdx.x == 0) publish(", "if (false) publish("),
    "takes bands by the number of the block": ("shared[0] = take_ticket(call.progress);", "shared[0] = blockIdx.x;"),
    **{f"drops barrier {i + 1}": ("__syncthreads();", i) for i in range(BARRIERS)},
}


@pytest.fixture(scope="session")
def cases(tmp_path_factory):
    """Small cases in which every part of the kernels takes part, with what naive makes of them, in a file."""
    cases = []
    for maker, channels, groups, merge, gpu in [
        (random_case, 4, 2, "max", "fused_small"),
        (random_case, 4, 1, "mean", "split_small"),
        (integer_case, 4, 4, "max", "split"),
        (integer_case, 4, 2, "max", "fused"),
        (random_case, 4, 2, "none", "split_small"),
        (random_case, 1, 1, "max", "split_small"),  # bands of one walk next to each other
    ]:
        x, gates = maker(1, channels, 22, 36, groups=groups)
        if maker is integer_case:
            x[0, 0, 3, 4] = torch.nan
        grad = upstream(x, DIRECTIONS, merge)
        cases.append((x, gates, merge, grad, gpu, naive_results(x, gates, DIRECTIONS, merge, grad)))
    path = tmp_path_factory.mktemp("mutants") / "cases.pt"
    torch.save(cases, path)
    return path


def test_the_source_itself_survives(tmp_path, cases):
    require(shutil.which("g++") is not None, "g++")
    options = cuda.compile_options(torch.float64, 3, False, piece=2)
    assert verdict(JUDGE, build(tmp_path, SOURCE, options, "-O0"), cases) == SURVIVES


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_caught(name, tmp_path, cases):
    require(shutil.which("g++") is not None, "g++")
    options = cuda.compile_options(torch.float64, 3, False, piece=2)
    assert is_caught(verdict(JUDGE, build(tmp_path, mutate(SOURCE, *MUTANTS[name]), options, "-O0"), cases))
