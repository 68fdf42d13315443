"""`propagate(x, raw, normalize=mode)`: as if the gates had been normalised before, on every backend."""

import shutil

import pytest
import torch
from torch.autograd import gradcheck

from spatialprop import normalize_gates, propagate
from spatialprop.ops import DIRECTIONS, normalization
from spatialprop.ops.machine.cuda_launch import read_source
from spatialprop.ops.normalization import shrinkage
from spatialprop.ops.propagation import cuda, naive
from tests.cases import ALL_DTYPES, LAYOUTS, MERGES, assert_as_accurate, random_case, slow
from tests.ops.machine.cuda_host.gpu_compiler import compile_for_gpu, require
from tests.ops.machine.cuda_host.host import SURVIVES, Host, build, is_caught, mutate, verdict
from tests.ops.machine.cuda_host.propagate import GPUS, Propagate

KINDS = [("clamp", 3), ("unit", 3), ("stochastic", 3), ("clamp", 1), ("stochastic", 1), ("tanh", 1), ("sigmoid", 1)]


def raw_case(batch=2, channels=4, height=17, width=33, *, groups=None, connection=3, dtype=torch.float64):
    """A map and raw gates: some pixels sum to more than one, some to less, and some to zero."""
    x, _ = random_case(batch, channels, height, width, dtype=dtype)
    generator = torch.Generator().manual_seed(1)
    groups = groups or channels
    raw = torch.randn(batch, 4, connection, groups, height, width, generator=generator, dtype=torch.float64)
    raw *= torch.rand(batch, 4, 1, groups, height, width, generator=generator).mul(4).floor() / 2
    return x, raw.to(dtype)


def upstream_of(x, merge):
    shape = (x.shape[0], 4, *x.shape[1:]) if merge == "none" else x.shape
    return torch.randn(shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64).to(x)


def results(run, x, raw, grad):
    x, raw = x.detach().requires_grad_(), raw.detach().requires_grad_()
    out = run(x, raw)
    return [out.detach(), *torch.autograd.grad(out, (x, raw), grad.to(out))]


def expected_results(x, raw, merge, mode, grad):
    """By plain PyTorch, in the precision at hand, and exact: in float64, with the same room for rounding."""

    def exact(x, raw):
        return naive.propagate(x, normalization._NORMALIZERS[mode](raw, shrinkage(grad.dtype)), DIRECTIONS, merge)

    plain = results(lambda x, raw: naive.propagate(x, raw, DIRECTIONS, merge, mode), x, raw, grad)
    return plain, results(exact, x.double(), raw.double(), grad)


def assert_all_as_accurate(found, expected):
    for result, plain, exact in zip(found, *expected, strict=True):
        assert_as_accurate(result, plain, exact)


@pytest.mark.parametrize(("mode", "connection"), KINDS)
@pytest.mark.parametrize("merge", MERGES)
def test_equals_gates_that_were_normalised_before(backend, merge, mode, connection):
    x, raw = (tensor.to(backend.device) for tensor in raw_case(connection=connection, groups=2))
    grad, options = upstream_of(x, merge), {"merge": merge, "backend": backend.name}
    fused = results(lambda x, raw: propagate(x, raw, normalize=mode, **options), x, raw, grad)
    before = results(lambda x, raw: propagate(x, normalize_gates(raw, mode), **options), x, raw, grad)
    for one, other in zip(fused, before, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("mode", "connection"), KINDS)
@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
def test_is_as_accurate_as_the_naive_form(compiled, dtype, mode, connection):
    sizes = [(1, 1), (1, 7), (7, 1), (17, 33), (70, 129)]
    for (height, width), groups in zip(sizes, (4, 1, 2, 4, 1), strict=True):
        x, raw = raw_case(1, 4, height, width, groups=groups, connection=connection, dtype=dtype)
        grad = upstream_of(x, "mean")
        found = results(
            lambda x, raw: propagate(x, raw, normalize=mode, merge="mean", backend=compiled.name),
            x.to(compiled.device),
            raw.to(compiled.device),
            grad,
        )
        assert_all_as_accurate(found, expected_results(x, raw, "mean", mode, grad))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_strides(compiled, layout):
    x, raw = (LAYOUTS[layout](tensor).to(compiled.device) for tensor in raw_case(2, 4, 13, 18))
    grad = upstream_of(x, "max")
    found = results(lambda x, raw: propagate(x, raw, normalize="clamp", backend=compiled.name), x, raw, grad)
    expected = results(lambda x, raw: propagate(x, raw, normalize="clamp", backend="naive"), x, raw, grad)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("mode", "connection"), KINDS)
def test_gradcheck(backend, mode, connection):
    x, raw = (tensor.to(backend.device) for tensor in raw_case(1, 2, 3, 4, connection=connection))
    # Zeros and sums of one are corners, which have no derivative.
    raw += 0.01 * torch.randn(raw.shape, generator=torch.Generator().manual_seed(3)).to(raw)
    assert gradcheck(
        lambda x, raw: propagate(x, raw, normalize=mode, backend=backend.name),
        (x.requires_grad_(), raw.requires_grad_()),
    )


@pytest.mark.parametrize("mode", ["clamp", "unit", "stochastic"])
def test_nan_infinity_and_the_ends_of_the_range(compiled, mode):
    x, raw = raw_case(1, 1, 9, 40, dtype=torch.float32)
    raw[0, 1, :, 0, 2, 3] = torch.nan
    raw[0, 0, 1, 0, 4, 5] = torch.nan
    raw[0, 2, 2, 0, 6, 7] = torch.inf
    raw[0, 3, :, 0, 1, 1] = torch.tensor([1e-42, 0, -1e-43])
    raw[0, 3, :, 0, 1, 9] = torch.tensor([-200.0, 100, 0])
    raw[0, 3, :, 0, 1, 19] = torch.tensor([1e38, -1e38, 3e37])
    options = {"normalize": mode, "merge": "none"}
    out = propagate(x.to(compiled.device), raw.to(compiled.device), backend=compiled.name, **options)
    torch.testing.assert_close(out.cpu(), propagate(x, raw, backend="naive", **options), equal_nan=True)


@pytest.mark.parametrize("mode", ["clamp", "unit"])
@pytest.mark.parametrize("groups", [1, 2])
def test_the_largest_numbers_have_finite_gradients(compiled, groups, mode):
    x, raw = raw_case(1, 2, 9, 20, groups=groups, dtype=torch.float32)
    x, raw = x.to(compiled.device), (raw.sign() * 3e38).to(compiled.device)
    grad = upstream_of(x, "mean")
    found = results(lambda x, raw: propagate(x, raw, normalize=mode, merge="mean", backend=compiled.name), x, raw, grad)
    expected = results(lambda x, raw: propagate(x, normalize_gates(raw, mode), merge="mean"), x, raw, grad)
    for one, other in zip(found, expected, strict=True):
        assert one.isfinite().all()
        torch.testing.assert_close(one, other)


def run_of_ones(x, raw, backend):
    return propagate(x, raw, normalize="clamp", directions=["right"], backend=backend)


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=str)
def ones(request):
    """Gates of one, and a map with a first column of one. Three thirds rounded to bfloat16 sum to 1.002: too much."""
    raw = torch.ones(1, 1, 3, 1, 48, 3000, dtype=request.param)
    x = torch.zeros(1, 1, 48, 3000, dtype=request.param)
    x[..., 0] = 1
    return x, raw


def test_stays_stable_over_many_lines(backend, ones):
    x, raw = (tensor.to(backend.device) for tensor in ones)
    assert run_of_ones(x, raw, backend.name).abs().max() <= 1


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a compiler")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of PyTorch's own
def test_stays_stable_under_torch_compile(compiled, ones):
    x, raw = (tensor.to(compiled.device) for tensor in ones)
    assert torch.compile(run_of_ones)(x, raw, compiled.name).abs().max() <= 1


def test_no_normalised_copy_is_kept(compiled):
    x, raw = (tensor.to(compiled.device).requires_grad_() for tensor in raw_case(1, 8, 40, 40, dtype=torch.float32))
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        propagate(x, raw, normalize="clamp", backend=compiled.name)
    assert [tensor.data_ptr() for tensor in saved if tensor.numel() >= raw.numel()] == [raw.data_ptr()]


@pytest.mark.parametrize(("mode", "connection"), [("tanh", 3), ("softmax", 3), ("", 1), (3, 1)])
def test_unsuitable_modes_are_refused(backend, mode, connection):
    x, raw = (tensor.to(backend.device) for tensor in raw_case(connection=connection))
    with pytest.raises(ValueError, match=r"normalize .*(K = 1 only|must be one of clamp, unit)"):
        propagate(x, raw, normalize=mode, backend=backend.name)


# propagate.cu, run on the host.

SOURCE = read_source(cuda.SOURCE)
JUDGE = "tests.ops.machine.cuda_host.propagate"


def options(mode, connection, dtype=torch.float64, piece=1):
    return cuda.compile_options(dtype, connection, False, mode, piece)


@pytest.mark.parametrize(
    ("mode", "connection", "dtype"),
    [
        ("clamp", 3, torch.float64),
        slow("stochastic", 3, torch.float32),
        *(slow(*kind, dtype) for kind in KINDS for dtype in (torch.float64, torch.bfloat16)),
    ],
)
def test_cuda_source(tmp_path, mode, connection, dtype):
    require(shutil.which("g++") is not None, "g++")
    library = Propagate(lambda piece: Host(build(tmp_path, SOURCE, options(mode, connection, dtype, piece))), mode)
    for groups, merge, gpu, width in [
        (4, "mean", "fused_small", 40),
        (1, "none", "split", 35),
        (2, "mean", "split_small", 40),
    ]:
        x, raw = raw_case(1, 4, 13, width, groups=groups, connection=connection, dtype=dtype)
        grad = upstream_of(x, merge)
        found = library.results(x, raw, DIRECTIONS, merge, grad, GPUS[gpu])
        assert_all_as_accurate(found, expected_results(x, raw, merge, mode, grad))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("capability", "mode", "connection", "dtype"),
    [
        *((capability, *kind, torch.float32) for capability in (75, 90) for kind in KINDS),
        (90, "clamp", 3, torch.bfloat16),
        (90, "clamp", 3, torch.float64),
    ],
)
def test_cuda_source_compiles_without_spilling(capability, mode, connection, dtype):
    for piece in (1, 16 // dtype.itemsize):
        for kernel in compile_for_gpu(SOURCE, options(mode, connection, dtype, piece), capability):
            assert kernel.stack_bytes == kernel.spilled_bytes == 0
            assert kernel.registers <= 65536 // 256  # a block of 256 threads must be able to start


MUTANTS = {
    "sums only gates inside the image": (
        "given[k] = widen(loaded.gate[k][i]);",
        "given[k] = direction.has_source(first.row, first.column + i, k) ? widen(loaded.gate[k][i]) : State(0);",
    ),
    "lets gates point outside": ("const bool inside = inner || first.in_image &", "const bool inside = true |"),
    "forgets a gate in the sum": ("total += fabs(raw[k]);", "total += k ? fabs(raw[k]) : State(0);"),
    "sums gates, not their sizes": ("total += fabs(raw[k]);", "total += raw[k];"),
    "always divides": ("divided = NORMALIZE == UNIT ? !(total < least) : !(total <= least);", "divided = true;"),
    "forgets the gradient of the sum": ("gradient[k] - sign * towards", "gradient[k]"),
    "forgets the sign": ("gradient[k] - sign * towards", "gradient[k] - towards"),
    "does not differentiate for own gates": ("if (NORMALIZE != READY) Gates(given)", "if (false) Gates(given)"),
    "does not differentiate for shared gates": ("if (NORMALIZE != READY) {", "if (false) {"),
}


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    made = []
    for groups, merge, gpu in [(4, "max", "fused_small"), (1, "mean", "split_small")]:
        x, raw = raw_case(1, 4, 14, 20, groups=groups)
        grad = upstream_of(x, merge)
        made.append((x, raw, merge, grad, gpu, expected_results(x, raw, merge, "clamp", grad)[0]))
    path = tmp_path_factory.mktemp("normalization") / "cases.pt"
    torch.save(made, path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", [None, *MUTANTS])
def test_cuda_mutants_are_caught(name, tmp_path, cases):
    require(shutil.which("g++") is not None, "g++")
    source = SOURCE if name is None else mutate(SOURCE, *MUTANTS[name])
    judgement = verdict(JUDGE, build(tmp_path, source, options("clamp", 3, piece=2), "-O0"), cases, "clamp")
    assert is_caught(judgement) if name else judgement == SURVIVES
