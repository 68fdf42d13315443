"""Theorem 3 as it holds: what stays bounded over 10,000 lines, what does not, and what happens without it."""

import pytest
import torch

from spatialprop import normalize_gates, propagate
from spatialprop.ops.contract import state_dtype
from tests.cases import ALL_DTYPES

COLUMNS = 10_000
ROWS = 48  # what leaks out at the two borders is made up for by the middle for many columns


def raw_kinds(connection, dtype, rows=ROWS):
    """(N, 1, K, 1, H, W): all alike (three thirds round upwards together), never negative, and of either sign."""
    generator = torch.Generator().manual_seed(0)
    shape = (1, 1, connection, 1, rows, COLUMNS)
    alike = torch.ones(shape)
    positive = torch.rand(shape, generator=generator)
    signed = 3 * torch.randn(shape, generator=generator)
    return torch.cat([alike, positive, signed]).to(dtype)


def run(backend, x, gates, direction="right"):
    return propagate(x.to(backend.device), gates.to(backend.device), directions=[direction], backend=backend.name).cpu()


def disturbance(gates, line):
    """A map that differs from zero in one column only."""
    x = gates.new_zeros(gates.shape[0], 1, *gates.shape[-2:])
    x[..., line] = 1
    return x


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
@pytest.mark.parametrize(
    ("connection", "modes"),
    [(1, ["clamp", "unit", "stochastic", "tanh", "sigmoid"]), (3, ["clamp", "unit", "stochastic"])],
)
def test_disturbance_of_one_line_never_grows(backend, connection, modes, dtype):
    raw = raw_kinds(connection, dtype, rows=4 if connection == 1 else ROWS)
    gates = torch.cat([normalize_gates(raw, mode) for mode in modes])
    sizes = run(backend, disturbance(gates, 0), gates).abs().amax((1, 2))  # (N, W)
    assert (sizes[:, 0] == 1).all()
    below_all_precision = torch.finfo(state_dtype(dtype)).tiny
    assert (sizes[:, 1:] <= sizes[:, :-1] + below_all_precision).all()
    assert (sizes[:, 100] > 0).any()


@pytest.mark.parametrize("direction", ["right", "down", "left", "up"])
def test_disturbance_in_the_middle_of_any_scan_never_grows(backend, direction):
    gates = normalize_gates(raw_kinds(3, torch.float32)[..., :600])
    x = disturbance(gates, 250)
    turns = {
        "right": lambda image: image,
        "left": lambda image: image.flip(-1),
        "down": lambda image: image.mT,
        "up": lambda image: image.mT.flip(-2),
    }
    turn, back = turns[direction], turns[direction] if direction != "up" else lambda image: image.flip(-2).mT
    sizes = back(run(backend, turn(x), turn(gates), direction)).abs().amax((1, 2))
    assert (sizes[:, :250] == 0).all()
    assert (sizes[:, 250] > 0).all()
    assert (sizes[:, 251:] <= sizes[:, 250:-1]).all()


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
def test_non_negative_gates_obey_the_maximum_principle(backend, dtype):
    raw = raw_kinds(3, dtype)
    never_negative = raw[:2]
    gates = torch.cat(
        [
            normalize_gates(raw, "stochastic"),
            normalize_gates(never_negative, "clamp"),
            normalize_gates(never_negative, "unit"),
        ]
    )
    x = torch.rand(gates.shape[0], 1, ROWS, COLUMNS, generator=torch.Generator().manual_seed(1)).to(dtype)
    h = run(backend, x, gates)
    rounding = 4 * torch.finfo(dtype).eps if dtype in (torch.float64, torch.float32) else 0
    assert (h >= x.amin((1, 2, 3), keepdim=True) - rounding).all()
    assert (h <= x.amax((1, 2, 3), keepdim=True) + rounding).all()


def test_signed_gates_obey_the_linear_bound(backend):
    gates = torch.cat([normalize_gates(raw_kinds(3, torch.float32), mode) for mode in ("clamp", "unit")])
    x = torch.randn(gates.shape[0], 1, ROWS, COLUMNS, generator=torch.Generator().manual_seed(1))
    t = torch.arange(1, COLUMNS + 1)
    bound = (2 * t - 1) * x.abs().amax((1, 2, 3)).unsqueeze(1)
    assert (run(backend, x, gates).abs().amax((1, 2)) <= bound).all()


def test_alternating_map_under_a_gate_of_minus_one_grows_as_fast_as_the_bound(backend):
    # Stable in the sense of Theorem 3, and yet the response has no end: h_t = 2 x_t - h_(t-1).
    t = torch.arange(1, COLUMNS + 1)
    x = (1 - 2 * (t % 2)).float().expand(1, 1, 3, -1)
    gates = torch.zeros(1, 1, 3, 1, 3, COLUMNS)
    gates[:, :, 1] = -1
    assert torch.equal(normalize_gates(gates), gates)
    assert torch.equal(run(backend, x, gates), x * (2 * t - 1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_without_normalisation_a_disturbance_blows_up(backend, dtype):
    raw = torch.full((1, 1, 3, 1, ROWS, COLUMNS), 0.37, dtype=dtype)
    assert run(backend, disturbance(raw, 0), raw)[..., -1].max() > 1e30
    gates = normalize_gates(raw)
    assert run(backend, disturbance(gates, 0), gates).max() == 1


def test_thirds_rounded_to_bfloat16_blow_up_without_normalisation(backend):
    thirds = torch.full((1, 1, 3, 1, 300, COLUMNS), 1 / 3, dtype=torch.bfloat16)
    assert run(backend, disturbance(thirds, 0), thirds)[..., -1].max() > 1e6
    gates = normalize_gates(thirds)
    assert run(backend, disturbance(gates, 0), gates).max() == 1
