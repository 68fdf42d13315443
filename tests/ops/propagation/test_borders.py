"""Gates that point outside the image; NaN and infinity, which reach the pixels that depend on them and no others."""

import pytest
import torch

from spatialprop import propagate
from spatialprop.ops import DIRECTIONS
from tests.cases import ALL_DTYPES, MERGES, random_case
from tests.reference import points_outside, propagate_by_pixel


def gradients(backend, x, gates, upstream, merge):
    x, gates = (tensor.to(backend.device).requires_grad_() for tensor in (x, gates))
    out = propagate(x, gates, merge=merge, backend=backend.name)
    return torch.autograd.grad(out, (x, gates), upstream.to(backend.device))


# The border rule.


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
@pytest.mark.parametrize("connection", [1, 3])
@pytest.mark.parametrize("junk", [torch.nan, torch.inf, -torch.inf])
def test_gates_that_point_outside_drop_out(backend, junk, connection, dtype):
    for height, width in [(1, 1), (1, 6), (6, 1), (5, 7), (18, 35)]:
        x, gates = random_case(1, 4, height, width, groups=2, connection=connection, dtype=dtype)
        outside = points_outside(DIRECTIONS, connection, height, width)
        spoilt, zeroed = gates.masked_fill(outside, junk), gates.masked_fill(outside, 0)
        for merge in MERGES:
            actual, expected = (
                propagate(x.to(backend.device), g.to(backend.device), merge=merge, backend=backend.name)
                for g in (spoilt, zeroed)
            )
            assert torch.equal(actual, expected)


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
@pytest.mark.parametrize("connection", [1, 3])
def test_first_line_keeps_its_own_values(backend, connection, dtype):
    x, gates = random_case(2, 3, 9, 34, connection=connection, dtype=dtype)
    x, gates = x.to(backend.device), gates.to(backend.device)
    right, down, left, up = propagate(x, gates, merge="none", backend=backend.name).unbind(1)
    assert torch.equal(right[..., 0], x[..., 0])
    assert torch.equal(down[..., 0, :], x[..., 0, :])
    assert torch.equal(left[..., -1], x[..., -1])
    assert torch.equal(up[..., -1, :], x[..., -1, :])


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
@pytest.mark.parametrize("connection", [1, 3])
@pytest.mark.parametrize("junk", [torch.nan, torch.inf, 1.0])
def test_gates_that_point_outside_get_no_gradient(backend, junk, connection, dtype):
    for height, width in [(1, 1), (1, 6), (6, 1), (5, 7), (18, 35)]:
        x, gates = random_case(1, 4, height, width, groups=2, connection=connection, dtype=dtype)
        outside = points_outside(DIRECTIONS, connection, height, width)
        for merge in MERGES:
            upstream = torch.ones(1, 4, 4, height, width, dtype=dtype)
            upstream = upstream if merge == "none" else upstream[:, 0]
            grad_x, grad_gates = gradients(backend, x, gates.masked_fill(outside, junk), upstream, merge)
            clean_x, clean_gates = gradients(backend, x, gates.masked_fill(outside, 0), upstream, merge)
            assert torch.equal(grad_x, clean_x)
            assert torch.equal(grad_gates, clean_gates)
            assert grad_gates.cpu().masked_select(outside).count_nonzero() == 0


@pytest.mark.parametrize("merge", MERGES)
def test_gates_that_all_point_outside_get_a_gradient_of_zero(backend, merge):
    x, gates = (tensor.to(backend.device) for tensor in random_case(1, 2, 1, 1))
    gates.requires_grad_()
    propagate(x, gates, merge=merge, backend=backend.name).sum().backward()
    assert torch.equal(gates.grad, torch.zeros_like(gates))


# NaN and infinity.


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("spoilt", ["map", "gate"])
def test_nan_in_nan_out(backend, spoilt, merge, dtype):
    x, gates = random_case(1, 2, 7, 20, groups=1, dtype=dtype)
    if spoilt == "map":
        x[0, 1, 3, 4] = torch.nan
    else:
        gates[0, 1, 2, 0, 3, 4] = torch.nan
    for order in ([0, 1, 2, 3], [3, 2, 1, 0]):  # a maximum may lose NaN that comes first, or that comes last
        directions = [DIRECTIONS[d] for d in order]
        expected = propagate_by_pixel(x, gates[:, order], directions, merge)
        actual = propagate(
            x.to(backend.device), gates[:, order].to(backend.device),
            directions=directions, merge=merge, backend=backend.name,
        )  # fmt: skip
        assert expected.isnan().any()
        assert not expected.isnan().all()
        assert torch.equal(actual.isnan().cpu(), expected.isnan())
        tolerance = 2 * torch.finfo(dtype).eps
        torch.testing.assert_close(actual.cpu().double(), expected, rtol=tolerance, atol=4 * tolerance, equal_nan=True)


def dependents(connection, height, width):
    """(4, HW, H, W): for each direction and pixel, the pixels that depend on it."""
    rows, columns = (
        grid.flatten() for grid in torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    )
    down, right = rows - rows[:, None], columns - columns[:, None]

    def depends(across, along):
        return (along >= 0) & (across.abs() <= (along if connection == 3 else 0))

    cones = [depends(down, right), depends(right, down), depends(down, -right), depends(right, -down)]
    return torch.stack(cones).view(4, height * width, height, width)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("junk", [torch.nan, torch.inf])
@pytest.mark.parametrize("connection", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(7, 20), (20, 7), (9, 9)])
def test_what_is_not_finite_reaches_its_dependents_only(backend, height, width, connection, junk, dtype):
    # One pixel in each map of the batch; what a kernel leaves in its buffers meets all of them.
    pixels = height * width
    x, gates = random_case(1, 1, height, width, connection=connection, dtype=dtype)
    x, gates = x.repeat(pixels, 1, 1, 1), gates.expand(pixels, -1, -1, -1, -1, -1)
    x.view(pixels, pixels).fill_diagonal_(junk)
    maps = propagate(x.to(backend.device), gates.to(backend.device), merge="none", backend=backend.name)
    assert torch.equal(~maps[:, :, 0].cpu().isfinite(), dependents(connection, height, width).transpose(0, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("junk", [torch.nan, torch.inf])
@pytest.mark.parametrize("connection", [1, 3])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("height", "width"), [(7, 20), (20, 7)])
def test_a_gradient_that_is_not_finite_reaches_what_its_pixel_depends_on_only(
    backend, height, width, direction, connection, junk, dtype
):
    pixels, d = height * width, DIRECTIONS.index(direction)
    x, gates = random_case(1, 1, height, width, connection=connection, dtype=dtype)
    x, gates = x.repeat(pixels, 1, 1, 1), gates.expand(pixels, -1, -1, -1, -1, -1)
    upstream = torch.zeros(pixels, 4, 1, height, width, dtype=dtype)
    upstream[:, d].view(pixels, pixels).fill_diagonal_(junk)
    grad_x, grad_gates = (grad.cpu().isfinite() for grad in gradients(backend, x, gates, upstream, "none"))

    reached = dependents(connection, height, width)[d].view(pixels, pixels).T.view(pixels, height, width)
    assert torch.equal(~grad_x[:, 0], reached)
    outside = points_outside(DIRECTIONS, connection, height, width)[d, :, 0]  # (K, H, W)
    assert torch.equal(~grad_gates[:, d, :, 0], reached.unsqueeze(1) & ~outside)
    others = [other for other in range(4) if other != d]
    assert grad_gates[:, others].all()
