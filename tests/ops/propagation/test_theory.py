"""The paper's theorems as they hold, and the symmetries of the equation, as properties of every backend."""

import functools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spatialprop import normalize_gates, propagate
from spatialprop.ops import DIRECTIONS, affinity_matrix

EXACT = {"rtol": 1e-10, "atol": 1e-10}


@st.composite
def gate_blocks(draw, connections=(1, 3), non_negative=None, channels=2):
    """Stable gates (N, 4, K, G, H, W) of random size, with sums that come close to 1, and a map to go with them."""
    height, width = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    connection, groups = draw(st.sampled_from(connections)), draw(st.sampled_from([1, channels]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    raw = 2 * torch.randn(2, 4, connection, groups, height, width, generator=generator, dtype=torch.float64)
    x = torch.randn(2, channels, height, width, generator=generator, dtype=torch.float64)
    if draw(st.booleans()) if non_negative is None else non_negative:
        raw = raw.abs() + 0.1
    return x, normalize_gates(raw)


def run(backend, x, gates, **options):
    return propagate(x.to(backend.device), gates.to(backend.device), backend=backend.name, **options).cpu()


def matrix_of(backend, gates, directions=None):
    """`affinity_matrix` takes no backend; it is written with `propagate`, whose backend is set here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spatialprop.ops.affinity.propagate", functools.partial(propagate, backend=backend.name))
        return affinity_matrix(gates.to(backend.device), directions).cpu()


def line_pixel(direction, t, a, height, width):
    """Image coordinates of pixel a on line t of a scan."""
    return {"right": (a, t), "left": (a, width - 1 - t), "down": (t, a), "up": (height - 1 - t, a)}[direction]


def transition(gates, direction, t):
    """The matrix w_t of Eq. 1 for gates (K, H, W): what line t takes from each pixel of line t - 1."""
    connection, height, width = gates.shape
    length = height if direction in ("right", "left") else width
    w = torch.zeros(length, length, dtype=gates.dtype)
    for a in range(length):
        i, j = line_pixel(direction, t, a, height, width)
        for k in range(connection):
            b = a + k - connection // 2
            if 0 <= b < length:
                w[a, b] = gates[k, i, j]
    return w


def matrix_by_equations_3_and_4(gates, direction):
    """G_ts = w_t ... w_(s+1) (I - d_s), with I - d = I on the first line, for gates (K, H, W)."""
    _, height, width = gates.shape
    lines, length = (width, height) if direction in ("right", "left") else (height, width)

    def indices(t):
        return torch.tensor(
            [i * width + j for i, j in (line_pixel(direction, t, a, height, width) for a in range(length))]
        )

    matrix = torch.zeros(height * width, height * width, dtype=gates.dtype)
    for t in range(lines):
        product = torch.eye(length, dtype=gates.dtype)
        for s in range(t, -1, -1):
            w = transition(gates, direction, s) if s > 0 else torch.zeros_like(product)
            matrix[indices(t)[:, None], indices(s)] = product @ (torch.eye(length) - w.sum(1).diag())
            product = product @ w
    return matrix


# Theorem 1, and the matrix itself.


@given(case=gate_blocks())
def test_affinity_matrix_is_the_product_of_transitions(backend, case):
    _, gates = case
    matrix = matrix_of(backend, gates)
    for n in range(gates.shape[0]):
        for d, direction in enumerate(DIRECTIONS):
            for g in range(gates.shape[3]):
                expected = matrix_by_equations_3_and_4(gates[n, d, :, g], direction)
                torch.testing.assert_close(matrix[n, d, g], expected, **EXACT)


@given(case=gate_blocks())
def test_affinity_matrix_does_what_propagate_does(backend, case):
    x, gates = case
    maps = run(backend, x, gates, merge="none")  # (N, D, C, H, W)
    product = matrix_of(backend, gates) @ x.flatten(2).unsqueeze(1).unsqueeze(-1)
    torch.testing.assert_close(product.view(maps.shape), maps, **EXACT)


@given(case=gate_blocks())
def test_rows_of_the_affinity_matrix_sum_to_one(backend, case):
    _, gates = case
    sums = matrix_of(backend, gates).sum(-1)
    torch.testing.assert_close(sums, torch.ones_like(sums), **EXACT)


@given(case=gate_blocks(), constant=st.floats(-100, 100))
def test_constant_map_stays_constant(backend, case, constant):
    x, gates = case
    x = torch.full_like(x, constant)
    assert torch.equal(run(backend, x, gates, merge="max"), x)  # to the last bit
    torch.testing.assert_close(run(backend, x, gates, merge="mean"), x, rtol=1e-15, atol=0)


# Theorem 2.


@given(case=gate_blocks(non_negative=True))
def test_identity_minus_the_affinity_matrix_is_a_laplacian(backend, case):
    _, gates = case
    batch, _, _, groups, height, width = gates.shape
    matrix = matrix_of(backend, gates)
    laplacian = torch.eye(height * width) - matrix
    torch.testing.assert_close(laplacian.sum(-1), torch.zeros_like(laplacian.sum(-1)), **EXACT)

    # G = I - D + A: A is what lies off the diagonal, and D holds the sums of the gates that point inside.
    affinity = matrix - matrix.diagonal(dim1=-2, dim2=-1).diag_embed()
    assert (affinity >= 0).all()
    degree = affinity.sum(-1)
    torch.testing.assert_close(laplacian.diagonal(dim1=-2, dim2=-1), degree, **EXACT)
    for d, direction in enumerate(DIRECTIONS):
        lines, length = (width, height) if direction in ("right", "left") else (height, width)
        for t in range(lines):
            for a in range(length):
                i, j = line_pixel(direction, t, a, height, width)
                for n in range(batch):
                    for g in range(groups):
                        inside = transition(gates[n, d, :, g], direction, t).sum(1)[a] if t > 0 else 0
                        assert degree[n, d, g, i * width + j].item() == pytest.approx(float(inside), abs=1e-10)


# Which pixels hear which.


def offsets(height, width):
    """Rows and columns from listener to source, (HW, HW) each."""
    rows, columns = (
        grid.flatten() for grid in torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    )
    return rows[None] - rows[:, None], columns[None] - columns[:, None]


@given(case=gate_blocks(connections=[1], non_negative=True))
def test_one_way_matrix_is_sparse_along_lines(backend, case):
    _, gates = case
    gates = gates * 0.5  # so that each pixel keeps some of its own
    down, right = offsets(*gates.shape[-2:])
    expected = {
        "right": (down == 0) & (right <= 0),
        "left": (down == 0) & (right >= 0),
        "down": (right == 0) & (down <= 0),
        "up": (right == 0) & (down >= 0),
    }
    matrix = matrix_of(backend, gates)
    for d, direction in enumerate(DIRECTIONS):
        assert torch.equal(matrix[:, d] != 0, expected[direction].expand_as(matrix[:, d]))


@given(case=gate_blocks(connections=[3], non_negative=True))
def test_three_way_matrix_fills_a_cone_and_four_directions_reach_every_pixel(backend, case):
    _, gates = case
    gates = gates * 0.5
    down, right = offsets(*gates.shape[-2:])
    expected = {
        "right": down.abs() <= -right,
        "left": down.abs() <= right,
        "down": right.abs() <= -down,
        "up": right.abs() <= down,
    }
    matrix = matrix_of(backend, gates)
    for d, direction in enumerate(DIRECTIONS):
        assert torch.equal(matrix[:, d] != 0, expected[direction].expand_as(matrix[:, d]))
    assert (matrix != 0).any(1).all()


# Symmetries.


@given(case=gate_blocks(connections=[1]))
def test_one_way_equals_three_way_with_zero_side_gates(backend, case):
    x, gates = case
    sides = torch.zeros_like(gates)
    for merge in ("none", "max", "mean"):
        one_way = run(backend, x, gates, merge=merge)
        torch.testing.assert_close(run(backend, x, torch.cat([sides, gates, sides], 2), merge=merge), one_way, **EXACT)


@given(case=gate_blocks(), weights=st.tuples(st.floats(-10, 10), st.floats(-10, 10)))
def test_linear_in_the_map(backend, case, weights):
    x, gates = case
    other = x.flip(1, 2).cos()
    for merge in ("none", "mean"):
        whole = run(backend, weights[0] * x + weights[1] * other, gates, merge=merge)
        parts = [run(backend, one, gates, merge=merge) for one in (x, other)]
        torch.testing.assert_close(whole, weights[0] * parts[0] + weights[1] * parts[1], **EXACT)


# What turning the image does: where each direction goes, and which directions see their neighbours in reverse.
TURNS = {
    "left and right": (
        lambda image: image.flip(-1),
        {"right": "left", "down": "down", "left": "right", "up": "up"},
        ("down", "up"),
    ),
    "up and down": (
        lambda image: image.flip(-2),
        {"right": "right", "down": "up", "left": "left", "up": "down"},
        ("right", "left"),
    ),
    "rows and columns": (lambda image: image.mT, {"right": "down", "down": "right", "left": "up", "up": "left"}, ()),
    "a quarter turn to the left": (
        lambda image: image.rot90(1, (-2, -1)),
        {"right": "up", "down": "right", "left": "down", "up": "left"},
        ("down", "up"),  # columns become rows counted from below
    ),
}


@pytest.mark.parametrize(("turn", "becomes", "reversed_sides"), TURNS.values(), ids=TURNS)
@given(case=gate_blocks())
def test_turning_the_image_permutes_the_directions(backend, turn, becomes, reversed_sides, case):
    x, gates = case
    turned = [
        turn(gates[:, d].flip(1) if direction in reversed_sides else gates[:, d])
        for d, direction in enumerate(DIRECTIONS)
    ]
    actual = run(
        backend, turn(x), torch.stack(turned, 1), directions=[becomes[name] for name in DIRECTIONS], merge="none"
    )
    torch.testing.assert_close(actual, turn(run(backend, x, gates, merge="none")), **EXACT)


@given(case=gate_blocks())
def test_order_of_directions_changes_nothing_but_ties(backend, case):
    x, gates = case
    for merge in ("max", "mean"):
        backwards = run(backend, x, gates.flip(1), directions=DIRECTIONS[::-1], merge=merge)
        torch.testing.assert_close(backwards, run(backend, x, gates, merge=merge), **EXACT)
