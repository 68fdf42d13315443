"""What `propagate` computes on every backend, compared with the equation pixel by pixel."""

import functools
import itertools

import pytest
import torch

from spatialprop import propagate
from spatialprop.ops import DIRECTIONS
from tests.cases import ALL_DTYPES, HALVES, LAYOUT_PAIRS, LAYOUTS, MERGES, SIZES, assert_as_accurate, random_case
from tests.reference import merge_maps, neighbours_of, propagate_by_pixel


@functools.cache
def exact_maps(height, width, connection):
    """A case and its four scans, for all the tests that look at it from different sides."""
    x, gates = random_case(2, 4, height, width, groups=2, connection=connection)
    return x, gates, propagate_by_pixel(x, gates, DIRECTIONS, "none")


def assert_exact(actual, expected):
    torch.testing.assert_close(actual.cpu(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("connection", [1, 3])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_equation_holds_at_ragged_sizes(backend, height, width, connection):
    x, gates, maps = exact_maps(height, width, connection)
    x, gates = x.to(backend.device), gates.to(backend.device)
    for merge in MERGES:
        assert_exact(propagate(x, gates, merge=merge, backend=backend.name), merge_maps(maps, merge))


@pytest.mark.parametrize("connection", [1, 3])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_each_gate_belongs_to_the_neighbour_that_the_contract_names(backend, direction, connection):
    x = torch.arange(25.0, device=backend.device).view(1, 1, 5, 5)
    for k, (down, right) in enumerate(neighbours_of(direction, connection)):
        gates = torch.zeros(1, 1, connection, 1, 5, 5, device=backend.device)
        gates[0, 0, k, 0, 2, 2] = 1
        expected = x.clone()
        expected[0, 0, 2, 2] = x[0, 0, 2 + down, 2 + right]
        assert torch.equal(propagate(x, gates, directions=[direction], backend=backend.name), expected)


@pytest.mark.parametrize("merge", MERGES)
def test_every_subset_and_order_of_directions(backend, merge):
    x, all_gates, _ = exact_maps(3, 5, 3)
    for count in (1, 2, 3, 4):
        for chosen in itertools.permutations(range(4), count):
            directions, gates = [DIRECTIONS[d] for d in chosen], all_gates[:, list(chosen)]
            actual = propagate(
                x.to(backend.device), gates.to(backend.device), directions=directions, merge=merge, backend=backend.name
            )
            assert_exact(actual, propagate_by_pixel(x, gates, directions, merge))


@pytest.mark.parametrize("connection", [1, 3])
@pytest.mark.parametrize("groups", [1, 2, 3, 4, 6, 12])
def test_channels_take_the_gates_of_their_group(backend, groups, connection):
    x, gates = random_case(2, 12, 6, 7, groups=groups, connection=connection)
    actual = propagate(x.to(backend.device), gates.to(backend.device), merge="none", backend=backend.name)
    assert_exact(actual, propagate_by_pixel(x, gates, DIRECTIONS, "none"))


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
@pytest.mark.parametrize("groups", [1, 5])
@pytest.mark.parametrize("connection", [1, 3])
@pytest.mark.parametrize("merge", MERGES)
def test_as_accurate_as_the_dtype_allows(backend, dtype, groups, connection, merge):
    x, gates = random_case(2, 5, 23, 70, groups=groups, connection=connection, dtype=dtype)
    exact = propagate(x.double(), gates.double(), merge=merge, backend="naive")
    naive = propagate(x, gates, merge=merge, backend="naive")
    actual = propagate(x.to(backend.device), gates.to(backend.device), merge=merge, backend=backend.name)
    assert_as_accurate(actual, naive, exact)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_halves_are_rounded_once_however_long_the_scan(backend, dtype, direction):
    # Gates near 1 keep what was rounded for many lines: a state in half precision ends a hundred times further off.
    shape = (3, 700) if direction in ("right", "left") else (700, 3)
    x = torch.rand(1, 2, *shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    gates = torch.full((1, 1, 3, 1, *shape), 0.33, dtype=dtype)
    exact = propagate_by_pixel(x, gates, [direction], "max")
    actual = propagate(x.to(backend.device), gates.to(backend.device), directions=[direction], backend=backend.name)
    one_rounding = torch.finfo(dtype).eps / 2 * exact.abs()
    assert ((actual.cpu().double() - exact).abs() <= 1.01 * one_rounding + 2e-5).all()


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_merging_halves_rounds_once(backend, dtype):
    x, gates = random_case(1, 3, 20, 21, dtype=dtype)
    exact = propagate_by_pixel(x, gates, DIRECTIONS, "mean")
    actual = propagate(x.to(backend.device), gates.to(backend.device), merge="mean", backend=backend.name)
    one_rounding = torch.finfo(dtype).eps / 2 * exact.abs()
    assert ((actual.cpu().double() - exact).abs() <= 1.01 * one_rounding + 2e-5).all()


def every_finite_half(dtype):
    values = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    return values[values.isfinite()].sort().values


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_every_half_passes_through_unchanged(backend, dtype):
    x = torch.cat([every_finite_half(dtype), torch.tensor([torch.inf, -torch.inf], dtype=dtype)]).view(1, 1, 1, -1)
    gates = torch.zeros(1, 1, 1, 1, *x.shape[2:], dtype=dtype)
    out = propagate(x.to(backend.device), gates.to(backend.device), directions=["down"], backend=backend.name)
    assert torch.equal(out.cpu(), x)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_halves_are_rounded_to_the_nearest_and_ties_to_even(backend, dtype):
    # The mean of two halves that follow each other is exact in the state, and lies right between them.
    values = every_finite_half(dtype)
    x = torch.stack([values[:-1], values[1:]]).view(1, 1, 2, -1)
    gates = torch.full((1, 1, 1, 1, *x.shape[2:]), 0.5, dtype=dtype)
    out = propagate(x.to(backend.device), gates.to(backend.device), directions=["down"], backend=backend.name)
    assert torch.equal(out[..., 1, :].cpu(), (x[..., 0, :].float() / 2 + x[..., 1, :].float() / 2).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("x_layout", "gates_layout"), LAYOUT_PAIRS)
def test_any_strides(backend, x_layout, gates_layout, dtype):
    x, gates = random_case(2, 4, 9, 10, groups=2, dtype=dtype)
    x, gates = LAYOUTS[x_layout](x.to(backend.device)), LAYOUTS[gates_layout](gates.to(backend.device))
    exact = propagate(x.double(), gates.double(), backend="naive")
    naive = propagate(x, gates, backend="naive")
    assert_as_accurate(propagate(x, gates, backend=backend.name), naive, exact)


def test_strides_beyond_32_bits(backend):
    # Storage that is never touched costs no memory on the CPU, only addresses.
    stride = 2**30
    try:
        storage = torch.empty(3 * stride + 64, dtype=torch.bfloat16, device=backend.device)
    except RuntimeError:
        pytest.skip("cannot reserve 6 GiB of addresses")
    x, gates = random_case(1, 1, 4, 5, dtype=torch.bfloat16)
    far_rows = storage.as_strided(x.shape, (1, 1, stride, 1)).copy_(x)
    assert torch.equal(
        propagate(far_rows, gates.to(backend.device), backend=backend.name),
        propagate(x.to(backend.device), gates.to(backend.device), backend=backend.name),
    )
    far_directions = storage.as_strided(gates.shape, (1, stride, 20, 20, 5, 1)).copy_(gates)
    assert torch.equal(
        propagate(x.to(backend.device), far_directions, backend=backend.name),
        propagate(x.to(backend.device), gates.to(backend.device), backend=backend.name),
    )


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
@pytest.mark.parametrize("merge", MERGES)
def test_result_has_the_dtype_and_shape_of_the_contract(backend, merge, dtype):
    x, gates = random_case(2, 4, 3, 5, groups=1, directions=["up", "left"], dtype=dtype)
    out = propagate(
        x.to(backend.device), gates.to(backend.device), directions=("up", "left"), merge=merge, backend=backend.name
    )
    assert out.dtype == dtype
    assert out.device.type == backend.device
    assert out.shape == ((2, 2, 4, 3, 5) if merge == "none" else (2, 4, 3, 5))


def test_default_is_the_maximum_over_right_down_left_and_up(backend):
    x, gates, maps = exact_maps(3, 5, 3)
    assert_exact(propagate(x.to(backend.device), gates.to(backend.device), backend=backend.name), maps.amax(1))


def test_auto_runs_the_compiled_backend(compiled):
    x, gates = random_case(1, 2, 9, 10, dtype=torch.float32)
    x, gates = x.to(compiled.device), gates.to(compiled.device)
    assert torch.equal(propagate(x, gates), propagate(x, gates, backend=compiled.name))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layout", ["contiguous", "stepped", "transposed", "channels_last"])
@pytest.mark.parametrize("merge", MERGES)
def test_inputs_are_never_written_to(backend, merge, layout, dtype):
    x, gates = random_case(2, 2, 8, 9, dtype=dtype)
    directions = 4 if merge == "none" else 1
    upstream = torch.randn(2, directions, 2, 8, 9).to(dtype)
    upstream = upstream if merge == "none" else upstream[:, 0]
    given = [LAYOUTS[layout](tensor.to(backend.device)) for tensor in (x, gates, upstream)]
    memory = [torch.empty(0, dtype=torch.uint8, device=t.device).set_(t.untyped_storage()) for t in given]
    before = [whole.clone() for whole in memory]  # what lies around the tensors, too
    versions = [tensor._version for tensor in given]

    x, gates = (tensor.detach().requires_grad_() for tensor in given[:2])
    out = propagate(x, gates, merge=merge, backend=backend.name)
    torch.autograd.grad(out, (x, gates), given[2])

    assert all(map(torch.equal, memory, before))
    assert [tensor._version for tensor in given] == versions


def test_result_shares_no_memory_with_the_map(backend):
    x, gates = random_case(1, 1, 1, 1)  # the result equals the map here
    x, gates = x.to(backend.device), gates.to(backend.device)
    for merge in MERGES:
        out = propagate(x, gates, merge=merge, backend=backend.name)
        assert out.data_ptr() != x.data_ptr()
