"""What `spread` computes on every backend, compared with its definition pixel by pixel."""

import functools

import pytest
import torch

from spatialprop.ops import neighbour_labels, spread
from tests.cases import ALL_DTYPES, HALVES, LAYOUT_PAIRS, LAYOUTS
from tests.spread_cases import NEIGHBOURHOODS, assert_right, neighbours_in_words, spread_by_pixel, spread_case


def case_for(size, dilations, kernel, **options):
    return spread_case(2, 5, *size, neighbours=len(neighbours_in_words(dilations, kernel)), **options)


@functools.cache
def exact_map(size, dilations, kernel, steps):
    return spread_by_pixel(*case_for(size, dilations, kernel), dilations, kernel, steps)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize(("size", "dilations", "kernel"), NEIGHBOURHOODS, ids=str)
def test_definition_pixel_by_pixel(backend, size, dilations, kernel, steps):
    x, affinity = (tensor.to(backend.device) for tensor in case_for(size, dilations, kernel))
    out = spread(x, affinity, dilations, kernel, steps, backend.name)
    expected = exact_map(size, tuple(dilations), kernel, steps)
    torch.testing.assert_close(out.cpu(), expected, rtol=1e-12, atol=1e-12)


def test_each_affinity_belongs_to_the_neighbour_that_the_contract_names(backend):
    x = torch.arange(121.0, device=backend.device).view(1, 1, 11, 11)
    for k, (down, right) in enumerate(neighbours_in_words([2, 1], 5)):
        affinity = torch.zeros(1, 48, 11, 11, device=backend.device)
        affinity[0, k, 5, 5] = 1
        expected = x.clone()
        expected[0, 0, 5, 5] = (x[0, 0, 5, 5] + x[0, 0, 5 + down, 5 + right]) / 2
        assert torch.equal(spread(x, affinity, [2, 1], 5, 1, backend.name), expected)


def test_by_default_ten_steps_over_eight_neighbours_on_the_compiled_backend(compiled):
    x, affinity = (t.to(compiled.device) for t in spread_case(1, 2, 9, 10, neighbours=16, dtype=torch.float32))
    assert torch.equal(spread(x, affinity, [1, 2]), spread(x, affinity, [1, 2], 3, 10, compiled.name))


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
@pytest.mark.parametrize("channels", [1, 4, 9])
def test_as_accurate_as_the_dtype_allows(backend, channels, dtype):
    x, affinity = spread_case(2, channels, 19, 41, dtype=dtype)
    exact = spread(x.double(), affinity.double(), [1, 2, 4, 8], backend="naive")
    naive = spread(x, affinity, [1, 2, 4, 8], backend="naive")
    actual = spread(x.to(backend.device), affinity.to(backend.device), [1, 2, 4, 8], backend=backend.name)
    assert_right(actual, naive, exact)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_halves_are_rounded_once_however_many_steps(backend, dtype):
    x, affinity = spread_case(1, 2, 12, 13, neighbours=8, dtype=dtype)
    exact = spread_by_pixel(x, affinity, [1], 3, 40)
    actual = spread(x.to(backend.device), affinity.to(backend.device), [1], 3, 40, backend.name)
    one_rounding = torch.finfo(dtype).eps / 2 * exact.abs()
    assert ((actual.cpu().double() - exact).abs() <= 1.01 * one_rounding + 2e-6).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("x_layout", "affinity_layout"), LAYOUT_PAIRS)
def test_any_strides(backend, x_layout, affinity_layout, dtype):
    x, affinity = spread_case(2, 3, 9, 18, neighbours=8, dtype=dtype)
    x, affinity = LAYOUTS[x_layout](x), LAYOUTS[affinity_layout](affinity)
    exact = spread(x.double(), affinity.double(), [2], steps=2, backend="naive")
    naive = spread(x, affinity, [2], steps=2, backend="naive")
    x, affinity = x.to(backend.device), affinity.to(backend.device)
    actual = spread(x, affinity, [2], steps=2, backend=backend.name)
    assert_right(actual, naive, exact)


def test_no_step_gives_a_copy(backend):
    x, affinity = (tensor.to(backend.device) for tensor in spread_case(1, 2, 5, 6, neighbours=8))
    out = spread(x.mT, affinity.mT, [1], steps=0, backend=backend.name)
    assert torch.equal(out, x.mT)
    assert out.is_contiguous()
    assert out.data_ptr() != x.data_ptr()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_steps_add_up(backend, dtype):
    x, affinity = (tensor.to(backend.device) for tensor in spread_case(1, 3, 14, 15, dtype=dtype))
    halfway = spread(x, affinity, [1, 2, 4, 8], steps=3, backend=backend.name)
    at_once = spread(x, affinity, [1, 2, 4, 8], steps=7, backend=backend.name)
    assert torch.equal(spread(halfway, affinity, [1, 2, 4, 8], steps=4, backend=backend.name), at_once)


# What holds for every map.


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_a_constant_map_stays_constant(backend, dtype):
    _, affinity = spread_case(2, 1, 17, 33, dtype=dtype)
    x = torch.full((2, 5, 17, 33), 0.7, dtype=dtype, device=backend.device)
    out = spread(x, 100 * affinity.to(backend.device), [1, 2, 4, 8], steps=30, backend=backend.name)
    torch.testing.assert_close(out, x, rtol=200 * torch.finfo(dtype).eps, atol=0)


def test_the_result_stays_within_the_range_of_the_map(backend):
    x, affinity = (tensor.to(backend.device) for tensor in spread_case(2, 3, 17, 33))
    previous = x
    for _ in range(4):
        out = spread(previous, 10 * affinity, [1, 2, 4, 8], steps=3, backend=backend.name)
        assert out.amax() <= previous.amax() * (1 + 1e-12)
        assert out.amin() >= previous.amin() * (1 + 1e-12)
        previous = out


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
def test_no_affinity_changes_nothing(backend, dtype):
    x, affinity = (tensor.to(backend.device) for tensor in spread_case(2, 5, 17, 33, dtype=dtype))
    assert torch.equal(spread(x, 0 * affinity, [1, 2, 4, 8], backend=backend.name), x)


def test_affinity_of_true_pairs_never_mixes_classes(backend):
    labels = torch.randint(0, 3, (1, 20, 21), generator=torch.Generator().manual_seed(0))
    x = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).double().to(backend.device)
    affinity = (neighbour_labels(labels, [1, 3]) == 1).double().to(backend.device)
    torch.testing.assert_close(spread(x, affinity, [1, 3], backend=backend.name), x)


def test_affinity_to_the_outside_never_matters(backend):
    x, affinity = spread_case(1, 2, 9, 20, neighbours=16)
    outside = neighbour_labels(torch.zeros(1, 9, 20).long(), [2, 12]) == -1
    expected = spread(x, affinity, [2, 12], steps=3, backend="naive")
    affinity = affinity.masked_fill(outside, torch.nan)
    out = spread(x.to(backend.device), affinity.to(backend.device), [2, 12], steps=3, backend=backend.name)
    torch.testing.assert_close(out.cpu(), expected)


def test_nan_reaches_its_neighbours_and_no_further(backend):
    # 35 columns: what the last, partly filled vector computes beside the image must not come back.
    x, affinity = spread_case(1, 2, 9, 35, neighbours=8)
    x[0, 0, 4, 30] = torch.nan
    x[0, 1, 0, 34] = torch.inf
    expected = spread(x, affinity, [3], steps=2, backend="naive")
    out = spread(x.to(backend.device), affinity.to(backend.device), [3], steps=2, backend=backend.name)
    torch.testing.assert_close(out.cpu(), expected, equal_nan=True)


def test_negative_affinities_follow_the_same_formula(backend):
    x, affinity = spread_case(1, 2, 9, 20, neighbours=8)
    affinity = (affinity - 0.5) / 5
    out = spread(x.to(backend.device), affinity.to(backend.device), [2], 3, 2, backend.name)
    torch.testing.assert_close(out.cpu(), spread_by_pixel(x, affinity, [2], 3, 2), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("layout", ["contiguous", "stepped", "transposed"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_inputs_are_never_written_to(backend, dtype, layout):
    x, affinity = spread_case(1, 2, 8, 9, neighbours=8, dtype=dtype)
    given = [LAYOUTS[layout](tensor.to(backend.device)) for tensor in (x, affinity, torch.ones_like(x))]
    memory = [torch.empty(0, dtype=torch.uint8, device=t.device).set_(t.untyped_storage()) for t in given]
    before = [whole.clone() for whole in memory]  # what lies around the tensors, too
    leaves = [tensor.detach().requires_grad_() for tensor in given[:2]]
    torch.autograd.grad(spread(*leaves, [1], steps=3, backend=backend.name), leaves, given[2])
    assert all(map(torch.equal, memory, before))


# Wrong input.


def call(x=(2, 4, 3, 5), affinity=(2, 16, 3, 5), dilations=(1, 2), **options):
    x, affinity = (torch.zeros(given) if isinstance(given, tuple) else given for given in (x, affinity))
    return spread(x, affinity, dilations, **options)


WRONG = {
    "x is a list": ({"x": [[1.0]]}, TypeError, r"x must be a torch\.Tensor; got list"),
    "affinity is a list": ({"affinity": [[1.0]]}, TypeError, r"affinity must be a torch\.Tensor; got list"),
    "labels for affinity": (
        {"affinity": torch.zeros(2, 16, 3, 5, dtype=torch.int8)},
        TypeError,
        r"affinity must be float64, float32, bfloat16 or float16; got torch\.int8\. Convert with \.to\(\)",
    ),
    "two dtypes": (
        {"affinity": torch.zeros(2, 16, 3, 5, dtype=torch.float16)},
        TypeError,
        r"x and affinity must have one dtype; got torch\.float32 and torch\.float16\. .*affinity\.to\(x\.dtype\)",
    ),
    "two devices": ({"affinity": torch.zeros(2, 16, 3, 5, device="meta")}, ValueError, r"one device; got cpu and meta"),
    "sparse": ({"x": torch.zeros(2, 4, 3, 5).to_sparse()}, TypeError, r"must be dense.*\.to_dense\(\)"),
    "three dimensions": ({"x": (4, 3, 5)}, ValueError, r"x must be \(N, C, H, W\); got 3 dimensions"),
    "affinity with five dimensions": (
        {"affinity": (2, 2, 8, 3, 5)}, ValueError, r"affinity must be \(N, P, H, W\).*got 5 dimensions"
    ),
    "empty": ({"x": (2, 0, 3, 5)}, ValueError, r"x must not be empty.*got \(2, 0, 3, 5\)"),
    "number of neighbours": (
        {"dilations": (1,)},
        ValueError,
        r"len\(dilations\) \* \(kernel\*\*2 - 1\) = 8, but dimension 1 is 16 in \(2, 16, 3, 5\)",
    ),
    "size": ({"affinity": (2, 16, 4, 5)}, ValueError, r"agree in N, H and W.*Resize one to the other"),
    "batch": ({"affinity": (1, 16, 3, 5)}, ValueError, r"agree in N, H and W.*\.expand\(\)"),
    "dilation": ({"dilations": (0, 2)}, ValueError, r"distinct integers from 1 up; got \(0, 2\)"),
    "kernel": ({"kernel": 2}, ValueError, r"kernel must be odd and at least 3.*got 2"),
    "steps": ({"steps": -1}, ValueError, r"steps must be at least 0; got -1"),
    "steps of a float": ({"steps": 1.5}, TypeError, r"steps must be an integer; got 1\.5"),
    "backend": ({"backend": "gpu"}, ValueError, r"backend must be one of auto, naive, cpu, cuda; got 'gpu'"),
    "cuda for cpu tensors": ({"backend": "cuda"}, ValueError, r"needs tensors on a cuda device; got cpu"),
}  # fmt: skip


def test_input_that_the_wrong_ones_depart_from_is_right():
    assert call().shape == (2, 4, 3, 5)


@pytest.mark.parametrize(("wrong", "error", "message"), WRONG.values(), ids=WRONG)
def test_wrong_input(wrong, error, message):
    with pytest.raises(error, match=message):
        call(**wrong)
