"""Wrong input: the message says what was given, what is needed and how to get there."""

import re
import warnings

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from spatialprop import normalize_gates, propagate
from spatialprop.ops import affinity_matrix, affinity_row, backends
from spatialprop.ops.propagation import naive
from tests.conftest import COMPILED


def call(x=(2, 4, 3, 5), gates=(2, 4, 3, 2, 3, 5), **options):
    """Propagate tensors that are given as such, or as a shape."""
    x, gates = (torch.zeros(given) if isinstance(given, tuple) else given for given in (x, gates))
    return propagate(x, gates, **options)


WRONG_SHAPES = {
    "x has three dimensions": ({"x": (4, 3, 5)}, r"x must be \(N, C, H, W\); got 3 dimensions, \(4, 3, 5\)"),
    "gates have five dimensions": (
        {"gates": (2, 24, 2, 3, 5)},
        r"gates must be \(N, D, K, G, H, W\).* got 5 dimensions, \(2, 24, 2, 3, 5\).*\.unflatten\(1, \(D, K, G\)\)",
    ),
    "blocks and directions differ": (
        {"gates": (2, 3, 3, 2, 3, 5)},
        r"one block per direction: dimension 1 is 3, but there are 4 directions .*'up'.*Pass directions=.*or 4 blocks",
    ),
    "blocks and given directions differ": (
        {"directions": ["left"]},
        r"one block per direction: dimension 1 is 4, but there are 1 directions \('left',\)",
    ),
    "two connections": (
        {"gates": (2, 4, 2, 2, 3, 5)},
        r"K = 1 \(one-way\) or K = 3 \(three-way\) in dimension 2; got 2 in \(2, 4, 2, 2, 3, 5\)",
    ),
    "batch differs": (
        {"x": (1, 4, 3, 5)},
        r"must agree in N, H and W: x is .*\(1, 4, 3, 5\), gates are .*\(2, 4, 3, 2, 3, 5\)\..*\.expand\(\)",
    ),
    "height differs": ({"x": (2, 4, 4, 5)}, r"must agree in N, H and W.*\(2, 4, 4, 5\).*Resize the guidance"),
    "width differs": ({"x": (2, 4, 3, 6)}, r"must agree in N, H and W.*\(2, 4, 3, 6\).*Resize the guidance"),
    "groups do not divide": (
        {"x": (2, 5, 3, 5)},
        r"must divide the channels: G = 2, C = 5\. Use G = 1 .*G = C .*another divisor of 5",
    ),
    "more groups than channels": ({"x": (2, 1, 3, 5)}, r"must divide the channels: G = 2, C = 1"),
    "empty batch": ({"x": (0, 4, 3, 5), "gates": (0, 4, 3, 2, 3, 5)}, r"must not be empty.*at least 1; got \(0, 4"),
    "empty channels": ({"x": (2, 0, 3, 5)}, r"x must not be empty: every size must be at least 1; got \(2, 0, 3, 5\)"),
    "empty height": ({"x": (2, 4, 0, 5), "gates": (2, 4, 3, 2, 0, 5)}, r"must not be empty.*at least 1; got"),
    "empty width": ({"x": (2, 4, 3, 0), "gates": (2, 4, 3, 2, 3, 0)}, r"must not be empty.*at least 1; got"),
    "empty groups": ({"gates": (2, 4, 3, 0, 3, 5)}, r"gates must not be empty.*got \(2, 4, 3, 0, 3, 5\)"),
    "no direction": (
        {"gates": (2, 0, 3, 2, 3, 5), "directions": []},
        r"one or more distinct names out of right, down, left, up; got \(\)",
    ),
    "unknown direction": (
        {"directions": ["right", "down", "left", "north"]},
        r"distinct names out of right, down, left, up; got \('right', 'down', 'left', 'north'\)",
    ),
    "a direction twice": (
        {"directions": ["right", "down", "left", "right"]},
        r"distinct names out of right, down, left, up; got .*'right'\)",
    ),
    "unknown merge": ({"merge": "sum"}, r"merge must be one of max, mean, none; got 'sum'"),
    "unknown backend": ({"backend": "gpu"}, r"backend must be one of auto, naive, cpu, cuda; got 'gpu'"),
    "cuda backend for cpu tensors": (
        {"backend": "cuda"},
        r"backend='cuda' needs tensors on a cuda device; got cpu\. Move them with \.to\('cuda'\), or use .*'auto'",
    ),
    "two devices": (
        {"gates": torch.zeros(2, 4, 3, 2, 3, 5, device="meta")},
        r"must be on one device; got cpu and meta\. Move one with \.to\(\)",
    ),
}

WRONG_TYPES = {
    "x is a list": ({"x": [[1.0]]}, r"x must be a torch\.Tensor; got list"),
    "gates are a list": ({"gates": [[1.0]]}, r"gates must be a torch\.Tensor; got list"),
    "x holds integers": (
        {"x": torch.zeros(2, 4, 3, 5, dtype=torch.int64)},
        r"x must be float64, float32, bfloat16 or float16; got torch\.int64\. Convert with \.to\(\)",
    ),
    "gates hold complex numbers": (
        {"gates": torch.zeros(2, 4, 3, 2, 3, 5, dtype=torch.complex64)},
        r"gates must be float64, float32, bfloat16 or float16; got torch\.complex64",
    ),
    "two dtypes": (
        {"gates": torch.zeros(2, 4, 3, 2, 3, 5, dtype=torch.bfloat16)},
        r"must have one dtype; got torch\.float32 and torch\.bfloat16\. Convert one: gates\.to\(x\.dtype\)",
    ),
    "directions in one string": (
        {"gates": (2, 1, 3, 2, 3, 5), "directions": "left"},
        r"must be a sequence of names, got the string 'left'; write \('left',\)",
    ),
}


def test_input_that_the_wrong_ones_depart_from_is_right():
    assert call(backend="naive").shape == (2, 4, 3, 5)


@pytest.mark.parametrize("name", ["auto", "naive"])
@pytest.mark.parametrize(("wrong", "message"), WRONG_SHAPES.values(), ids=WRONG_SHAPES)
def test_wrong_values(name, wrong, message):
    with pytest.raises(ValueError, match=message):
        call(**{"backend": name, **wrong})


@pytest.mark.parametrize("name", ["auto", "naive"])
@pytest.mark.parametrize(("wrong", "message"), WRONG_TYPES.values(), ids=WRONG_TYPES)
def test_wrong_types(name, wrong, message):
    with pytest.raises(TypeError, match=message):
        call(**{"backend": name, **wrong})


@pytest.mark.skipif(len(COMPILED) == 1, reason="needs a GPU")
def test_cpu_backend_for_cuda_tensors():
    with pytest.raises(ValueError, match=r"backend='cpu' needs tensors on a cpu device; got cuda"):
        propagate(torch.zeros(1, 1, 2, 2).cuda(), torch.zeros(1, 4, 1, 1, 2, 2).cuda(), backend="cpu")


def broken():
    raise RuntimeError("Failure finding\nlibnvrtc.so.12")


# CuPy that is not there, and CuPy that is there without its compiler.
PROBLEMS = {
    "is missing": backends.DRIVERS["cuda"]._replace(module="no_such_package"),
    r"does not work \(Failure finding libnvrtc.so.12\)": backends.DRIVERS["cuda"]._replace(
        module="json", try_out=broken
    ),
}


@pytest.fixture
def cupy_with(monkeypatch):
    def give(problem):
        monkeypatch.setitem(backends.DRIVERS, "cuda", PROBLEMS[problem])
        monkeypatch.delitem(backends._PROBLEMS, "cuda", raising=False)
        backends._warn.cache_clear()

    yield give
    backends._PROBLEMS.pop("cuda", None)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_cuda_backend_without_cupy_says_how_to_get_it(cupy_with, problem):
    cupy_with(problem)
    with pytest.raises(ImportError, match=rf"needs CuPy, but CuPy {problem}\..*\[cuda12\] or spatialprop\[cuda13\]"):
        backends._resolve("cuda", ("cpu", "cuda"), torch.device("cuda"))


def test_operator_without_a_backend_says_which_it_has():
    cpu = torch.device("cpu")
    assert backends._resolve("auto", ("cuda",), cpu) == "naive"
    with pytest.raises(ValueError, match=r"no backend 'cpu'; use one of auto, naive, cuda"):
        backends._resolve("cpu", ("cuda",), cpu)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_auto_without_cupy_says_so_once_and_runs_naive(cupy_with, problem, monkeypatch):
    cupy_with(problem)
    monkeypatch.setattr(naive, "propagate", lambda *_: "naive")
    with FakeTensorMode():  # pretends that there is a GPU
        x, gates = torch.empty(1, 1, 2, 2, device="cuda"), torch.empty(1, 4, 1, 1, 2, 2, device="cuda")
        with pytest.warns(UserWarning, match=rf"CuPy {problem}.*naive.*pip install spatialprop\[cuda12\]") as caught:
            assert propagate(x, gates) == "naive"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert propagate(x, gates) == "naive"
    assert caught[0].filename == __file__  # the caller's line, not one of ours


@pytest.mark.parametrize("pixel", [(3, 0), (0, 5), (-1, 0), (0, -1)])
def test_affinity_of_a_pixel_outside_the_map(pixel):
    with pytest.raises(ValueError, match=rf"\({pixel[0]}, {pixel[1]}\) lies outside the map.* 3 rows and 5 columns"):
        affinity_row(torch.zeros(1, 4, 3, 1, 3, 5), pixel)


@pytest.mark.parametrize("affinity", [affinity_matrix, lambda gates: affinity_row(gates, (1, 2)), normalize_gates])
def test_gates_that_are_sparse(affinity):
    with pytest.raises(TypeError, match=r"gates must be dense; got the layout torch.sparse_coo. Use .to_dense"):
        affinity(torch.zeros(1, 4, 3, 1, 3, 5).to_sparse())


def test_affinity_under_autocast_has_its_dtype():
    gates = torch.full((1, 4, 3, 1, 3, 5), 0.2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        row, matrix = affinity_row(gates, (1, 2)), affinity_matrix(gates)
    assert row.dtype == matrix.dtype == torch.bfloat16
    torch.testing.assert_close(row.flatten(-2), matrix[..., 7, :])


def test_affinity_of_a_pixel_that_numpy_counted():
    gates = torch.full((1, 4, 3, 1, 3, 5), 0.2)
    assert torch.equal(affinity_row(gates, (np.int64(1), np.int64(2))), affinity_row(gates, (1, 2)))


@pytest.mark.parametrize("pixel", [3, (1,), (1, 2, 3), (1.0, 2), (True, False), {1, 2}, "12", None])
def test_affinity_of_what_is_no_pixel(pixel):
    with pytest.raises(TypeError, match=rf"pixel must be two integers, \(row, column\); got {re.escape(repr(pixel))}"):
        affinity_row(torch.zeros(1, 4, 3, 1, 3, 5), pixel)


@pytest.mark.parametrize("affinity", [affinity_matrix, lambda *given: affinity_row(given[0], (0, 0), *given[1:])])
def test_affinity_checks_its_gates(affinity):
    with pytest.raises(ValueError, match=r"got 5 dimensions"):
        affinity(torch.zeros(4, 3, 1, 3, 5))
    with pytest.raises(ValueError, match=r"one block per direction: dimension 1 is 4"):
        affinity(torch.zeros(1, 4, 3, 1, 3, 5), ["left"])
    with pytest.raises(TypeError, match=r"torch\.int64"):
        affinity(torch.zeros(1, 4, 3, 1, 3, 5, dtype=torch.int64))
