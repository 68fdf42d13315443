"""`normalize_gates`: what each mode computes, and what it guarantees after rounding."""

from fractions import Fraction

import pytest
import torch

from spatialprop import normalize_gates
from spatialprop.ops.contract import DTYPES, state_dtype

MODES = ["clamp", "unit", "stochastic", "tanh", "sigmoid"]
ONE_WAY = ["tanh", "sigmoid"]


def modes_for(connection):
    return [mode for mode in MODES if connection == 1 or mode not in ONE_WAY]


MODES_AND_CONNECTIONS = [(mode, connection) for connection in (1, 3) for mode in modes_for(connection)]


def raw_gates(connection=3, dtype=torch.float64, scale=2.0, count=600):
    generator = torch.Generator().manual_seed(0)
    return (scale * torch.randn(2, 1, connection, 1, 1, count, generator=generator, dtype=torch.float64)).to(dtype)


def definition(raw, mode):
    """The contract's words, without a thought for rounding."""
    raw = raw.double()
    if mode == "tanh":
        return raw.tanh()
    if mode == "sigmoid":
        return raw.sigmoid()
    gates = raw.sigmoid() if mode == "stochastic" else raw
    total = gates.abs().sum(2, keepdim=True)
    if mode == "unit":
        return torch.where(total == 0, 0, gates / total)
    return gates / total.clamp(min=1)


def exact_sums(gates):
    """Sums of absolute values over the connections, without any rounding."""
    pixels = gates.double().movedim(2, -1).flatten(0, -2).abs().tolist()
    return [sum(map(Fraction, pixel)) for pixel in pixels]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("mode", "connection"), MODES_AND_CONNECTIONS)
def test_each_mode_is_what_the_contract_says(mode, connection, dtype):
    raw = raw_gates(connection, dtype)
    gates = normalize_gates(raw, mode)
    assert gates.dtype == dtype
    assert gates.shape == raw.shape
    half = dtype in (
        torch.bfloat16,
        torch.float16,
    )  # these are rounded once, and shrunk by half as much again to stay stable
    rtol = torch.finfo(dtype).eps * (1.01 if half else 8)
    torch.testing.assert_close(gates.double(), definition(raw, mode), rtol=rtol, atol=1e-7 if half else 0)


def test_clamp_is_the_default():
    raw = raw_gates()
    assert torch.equal(normalize_gates(raw), normalize_gates(raw, "clamp"))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("scale", [1e-6, 0.1, 1.0, 30.0, 1e4])
@pytest.mark.parametrize(("mode", "connection"), MODES_AND_CONNECTIONS)
def test_sums_stay_within_one_after_rounding(mode, connection, scale, dtype):
    assert max(exact_sums(normalize_gates(raw_gates(connection, dtype, scale), mode))) <= 1


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("mode", ["clamp", "unit"])
def test_sums_that_are_slightly_too_large_are_brought_within_one(mode, dtype):
    excess = 2.0 ** -torch.arange(1, 45, dtype=torch.float64)
    excess = excess[excess > 2 * torch.finfo(state_dtype(dtype)).eps].to(dtype)
    raw = torch.stack([torch.full_like(excess, 0.5), torch.full_like(excess, -0.5), excess]).view(1, 1, 3, 1, 1, -1)
    assert max(exact_sums(normalize_gates(raw, mode))) <= 1


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("mode", modes_for(3))
def test_sums_of_small_ratios_stay_within_one_after_rounding(mode, dtype):
    # Thirds, sevenths and the like round upwards together: the worst there is.
    whole = torch.arange(-9, 10, dtype=dtype)
    raw = torch.cartesian_prod(whole, whole, whole).T.reshape(1, 1, 3, 1, 1, -1)
    for scaled in (raw, raw / 16, raw * 1000):
        assert max(exact_sums(normalize_gates(scaled, mode))) <= 1


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sums_of_the_smallest_numbers_stay_within_one(dtype):
    smallest = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    raw = torch.tensor([1, 1, 1, 2, 3, 2], dtype=dtype).reshape(1, 1, 3, 1, 1, 2) * smallest
    assert (raw > 0).all()
    assert max(exact_sums(normalize_gates(raw, "unit"))) <= 1


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_clamp_leaves_alone_what_is_stable_already(dtype):
    raw = raw_gates(3, dtype, scale=0.2)
    raw[..., 0] = torch.tensor([0.5, -0.25, 0.25]).view(3, 1, 1)  # a sum of exactly 1
    stable = torch.tensor([total <= 1 for total in exact_sums(raw)]).view(2, 1, 1, 1, 1, -1)
    assert stable[..., 0].all()
    assert stable.any()
    assert not stable.all()
    gates = normalize_gates(raw, "clamp")
    assert torch.equal(torch.where(stable, gates, 0), torch.where(stable, raw, 0))
    assert (gates != raw).any(2, keepdim=True)[~stable].all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_clamp_misses_a_sum_above_one_by_no_more_than_the_state_can_tell(dtype):
    raw = torch.tensor([0.5, 0.5, torch.finfo(state_dtype(dtype)).eps / 4], dtype=dtype).view(1, 1, 3, 1, 1, 1)
    assert exact_sums(normalize_gates(raw, "clamp"))[0] <= 1 + Fraction(torch.finfo(state_dtype(dtype)).eps)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_unit_keeps_zeros_and_uses_the_whole_sum_elsewhere(dtype):
    raw = raw_gates(3, dtype)
    raw[..., ::7] = 0
    gates = normalize_gates(raw, "unit")
    zero = (raw == 0).all(2, keepdim=True)
    assert torch.equal(zero, (gates == 0).all(2, keepdim=True))
    nearly_one = 1 - 2 * torch.finfo(dtype).eps
    assert (gates.double().abs().sum(2, keepdim=True)[~zero] >= nearly_one - 8 * torch.finfo(dtype).eps).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("connection", [1, 3])
def test_unit_has_finite_gradients_down_to_the_smallest_numbers(connection, dtype):
    tiny, smallest = torch.finfo(dtype).tiny, torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    for value in (0.0, smallest, -smallest, tiny / 2, tiny, -2 * tiny):
        raw = torch.full((1, 1, connection, 1, 1, 1), value, dtype=dtype, requires_grad=True)
        gates = normalize_gates(raw, "unit")
        (gradient,) = torch.autograd.grad(gates, raw, torch.linspace(0.1, 0.9, gates.numel()).view_as(gates).to(dtype))
        assert gates.isfinite().all()
        assert gradient.isfinite().all() or dtype == torch.float16  # whose range ends where the true ones begin
        assert not gradient.isnan().any()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("mode", "connection"), [("stochastic", 1), ("stochastic", 3), ("sigmoid", 1)])
def test_gates_that_keep_the_range_are_never_negative(mode, connection, dtype):
    for scale in (1.0, 1e4):
        assert (normalize_gates(raw_gates(connection, dtype, scale), mode) >= 0).all()


@pytest.mark.parametrize("mode", ["clamp", "unit", "tanh"])
def test_signs_are_kept(mode):
    raw = raw_gates(1)
    assert torch.equal(normalize_gates(raw, mode).sign(), raw.sign())


@pytest.mark.parametrize(("mode", "connection"), MODES_AND_CONNECTIONS)
def test_huge_halves_do_not_overflow(mode, connection):
    for raw in (torch.full((1, 1, connection, 1, 1, 2), sign * 65504.0, dtype=torch.float16) for sign in (1, -1)):
        gates = normalize_gates(raw, mode)
        expected = definition(raw, mode)
        torch.testing.assert_close(gates.double(), expected, rtol=2e-3, atol=1e-7)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("mode", "connection"), MODES_AND_CONNECTIONS)
def test_gradients_are_finite_everywhere(mode, connection, dtype):
    largest = min(torch.finfo(dtype).max, 1e30)
    for value in (0.0, -0.0, 1.0, -1.0, 1e-4, largest, -largest):
        raw = torch.full((1, 1, connection, 1, 1, 2), value, dtype=dtype, requires_grad=True)
        upstream = torch.randn(raw.shape).to(dtype)
        (grad,) = torch.autograd.grad(normalize_gates(raw, mode), raw, upstream)
        assert grad.isfinite().all(), value


@pytest.mark.parametrize(("mode", "connection"), MODES_AND_CONNECTIONS)
def test_gradcheck(mode, connection):
    raw = raw_gates(connection, count=5).requires_grad_()
    assert torch.autograd.gradcheck(lambda raw: normalize_gates(raw, mode), raw)


@pytest.mark.parametrize(("mode", "connection"), MODES_AND_CONNECTIONS)
def test_raw_gates_of_any_strides_are_left_as_they_are(mode, connection):
    raw = raw_gates(connection).movedim(2, -1).contiguous().movedim(-1, 2)
    before = raw.clone()
    assert torch.equal(normalize_gates(raw, mode), normalize_gates(raw.contiguous(), mode))
    assert torch.equal(raw, before)


def test_unknown_mode():
    with pytest.raises(ValueError, match=r"one of clamp, unit, stochastic, tanh, sigmoid; got 'softmax'"):
        normalize_gates(raw_gates(), "softmax")


@pytest.mark.parametrize("mode", ONE_WAY)
def test_modes_for_one_way_connections_only(mode):
    with pytest.raises(ValueError, match=rf"'{mode}' .*stable for K = 1 only; got K = 3\. Use 'clamp', 'unit' or"):
        normalize_gates(raw_gates(3), mode)


def test_wrong_raw_gates():
    with pytest.raises(ValueError, match=r"\(N, D, K, G, H, W\); got 4 dimensions, \(1, 12, 2, 2\).*\.unflatten\(1"):
        normalize_gates(torch.zeros(1, 12, 2, 2))
    with pytest.raises(TypeError, match=r"float64, float32, bfloat16 or float16; got torch\.int64"):
        normalize_gates(torch.zeros(1, 1, 3, 1, 2, 2, dtype=torch.int64))
    with pytest.raises(TypeError, match=r"torch\.Tensor; got list"):
        normalize_gates([[1.0]])


def test_autocast_normalises_in_the_dtype_that_propagates():
    raw = torch.ones(1, 1, 3, 1, 4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        gates = normalize_gates(raw)
    assert gates.dtype == torch.bfloat16
    assert max(exact_sums(gates)) <= 1


@pytest.mark.parametrize("mode", ["clamp", "unit"])
def test_nan_takes_the_whole_pixel(mode):
    # Its siblings alone would be stable only by chance, should the border rule drop the gate that is NaN.
    raw = torch.tensor([torch.nan, 5.0, 5.0]).view(1, 1, 3, 1, 1, 1)
    assert normalize_gates(raw, mode).isnan().all()


def test_connections_other_than_one_and_three_are_refused():
    with pytest.raises(ValueError, match=r"K = 1 .* or K = 3"):
        normalize_gates(torch.zeros(1, 1, 2, 1, 1, 1))
