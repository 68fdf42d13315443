"""`affinity_matrix` and `affinity_row`: shapes, agreement, and one row of a map too large for the matrix."""

import pytest
import torch

from spatialprop import normalize_gates, propagate
from spatialprop.ops import DIRECTIONS, affinity_matrix, affinity_row
from tests.cases import random_case
from tests.conftest import COMPILED


@pytest.fixture(autouse=True)
def _backend_in_use(request, monkeypatch):
    """The affinity functions take no backend; they are written with `propagate`, whose backend is set here."""
    if "backend" in request.fixturenames:
        name = request.getfixturevalue("backend").name
        monkeypatch.setattr(
            "spatialprop.ops.affinity.propagate", lambda *given, **options: propagate(*given, backend=name, **options)
        )


@pytest.mark.parametrize("connection", [1, 3])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5), (5, 1), (4, 6)])
def test_row_is_the_row_of_the_matrix(backend, height, width, groups, connection):
    _, gates = random_case(2, 3, height, width, groups=groups, connection=connection)
    gates = gates.to(backend.device)
    matrix = affinity_matrix(gates)
    assert matrix.shape == (2, 4, groups, height * width, height * width)
    for i in range(height):
        for j in range(width):
            row = affinity_row(gates, (i, j))
            assert row.shape == (2, 4, groups, height, width)
            torch.testing.assert_close(row.flatten(3), matrix[:, :, :, i * width + j], rtol=1e-12, atol=1e-12)


def test_directions_choose_and_order_the_blocks(backend):
    _, gates = random_case(1, 2, 4, 5)
    gates = gates.to(backend.device)
    everything = affinity_matrix(gates)
    order = [3, 1]
    names = [DIRECTIONS[d] for d in order]
    assert torch.equal(affinity_matrix(gates[:, order], names), everything[:, order])
    assert torch.equal(affinity_row(gates[:, order], (2, 3), names), affinity_row(gates, (2, 3))[:, order])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_affinities_have_the_dtype_of_the_gates_and_no_gradient_history(backend, dtype):
    _, gates = random_case(1, 1, 3, 4, dtype=dtype)
    gates = gates.to(backend.device).requires_grad_()
    before = gates.detach().clone()
    row, matrix = affinity_row(gates, (1, 2)), affinity_matrix(gates.detach())
    assert row.dtype == matrix.dtype == dtype
    assert not row.requires_grad
    assert gates.grad is None
    assert torch.equal(gates, before)
    torch.testing.assert_close(row.flatten(3), matrix[:, :, :, 6], rtol=2 * torch.finfo(dtype).eps, atol=1e-3)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_row_is_there_when_gradients_are_switched_off(backend, mode):
    _, gates = random_case(1, 1, 3, 4)
    gates = gates.to(backend.device)
    expected = affinity_row(gates, (1, 2))
    with mode():
        assert torch.equal(affinity_row(gates, (1, 2)), expected)
        assert torch.equal(affinity_row(gates.clone(), (1, 2)), expected)


@pytest.mark.parametrize("backend", COMPILED, ids=lambda backend: backend.name)
def test_row_of_a_large_map(backend):
    size = 1024
    generator = torch.Generator().manual_seed(0)
    raw = torch.rand(1, 4, 3, 1, size, size, generator=generator).to(backend.device)
    gates = normalize_gates(raw, "unit")
    x = torch.rand(1, 1, size, size, generator=generator).to(backend.device)
    pixel = (700, 300)
    row = affinity_row(gates, pixel)
    assert row.shape == (1, 4, 1, size, size)
    assert (row >= 0).all()
    torch.testing.assert_close(
        row.double().sum((-2, -1)).cpu(), torch.ones(1, 4, 1, dtype=torch.float64), rtol=1e-5, atol=0
    )

    weighted = (row.double() * x.double().unsqueeze(1)).sum((-2, -1))
    propagated = propagate(x, gates, merge="none")[..., pixel[0], pixel[1]]
    torch.testing.assert_close(weighted, propagated.double(), rtol=1e-5, atol=0)

    # In each direction, a cone of sources that opens against the way information travels.
    down, right = torch.meshgrid(torch.arange(size) - pixel[0], torch.arange(size) - pixel[1], indexing="ij")
    cones = torch.stack([down.abs() <= -right, right.abs() <= -down, down.abs() <= right, right.abs() <= down])
    assert (row[0, :, 0][~cones] == 0).all()
    assert (row[0, :, 0, pixel[0] - 40 : pixel[0] + 40, pixel[1] - 40 : pixel[1] + 40] > 0).any(0).all()
