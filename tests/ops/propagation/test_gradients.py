"""Gradients on every backend: against finite differences, against naive autograd, and where the maximum ties."""

import pytest
import torch
from torch.autograd import forward_ad, gradcheck, gradgradcheck

from spatialprop import propagate
from spatialprop.ops import DIRECTIONS
from tests.cases import ALL_DTYPES, HALVES, LAYOUTS, MERGES, SIZES, assert_as_accurate, integer_case, random_case
from tests.reference import propagate_by_pixel


def gradients(x, gates, upstream, backend, **options):
    """Gradients with respect to x and gates, of leaves that keep the strides of what is given."""
    x, gates = (tensor.detach().to(backend.device).requires_grad_() for tensor in (x, gates))
    out = propagate(x, gates, backend=backend.name, **options)
    return torch.autograd.grad(out, (x, gates), upstream.to(backend.device))


def naive_gradients(x, gates, upstream, **options):
    x, gates = (tensor.detach().cpu().requires_grad_() for tensor in (x, gates))
    out = propagate(x, gates, backend="naive", **options)
    return torch.autograd.grad(out, (x, gates), upstream.cpu())


def random_upstream(x, gates, merge):
    """An upstream gradient that is zero where another precision might pick another maximum."""
    maps = propagate(x.cpu().double(), gates.cpu().double(), merge="none", backend="naive")
    upstream = torch.randn(maps.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    if merge != "none":
        upstream = upstream[:, 0]
    if merge == "max":
        best, second = maps.topk(2, dim=1).values.unbind(1)
        upstream = torch.where(best - second > 1e-3, upstream, 0)
    return upstream.to(x)


@pytest.mark.parametrize("connection", [1, 3])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 4), (4, 1), (3, 4)])
@pytest.mark.parametrize("merge", MERGES)
def test_gradcheck(backend, merge, height, width, groups, connection):
    x, gates = random_case(1, 2, height, width, groups=groups, connection=connection)
    inputs = [tensor.to(backend.device).requires_grad_() for tensor in (x, gates)]
    assert gradcheck(lambda x, gates: propagate(x, gates, merge=merge, backend=backend.name), inputs)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("connection", [1, 3])
def test_gradcheck_of_one_direction_over_a_batch(backend, connection, direction):
    x, gates = random_case(2, 2, 3, 4, groups=1, connection=connection, directions=[direction])
    inputs = [tensor.to(backend.device).requires_grad_() for tensor in (x, gates)]
    assert gradcheck(lambda x, gates: propagate(x, gates, directions=[direction], backend=backend.name), inputs)


@pytest.mark.parametrize("connection", [1, 3])
@pytest.mark.parametrize("merge", MERGES)
def test_naive_gradgradcheck(merge, connection):
    inputs = [tensor.requires_grad_() for tensor in random_case(1, 2, 3, 3, groups=1, connection=connection)]
    assert gradgradcheck(lambda x, gates: propagate(x, gates, merge=merge, backend="naive"), inputs)


@pytest.mark.parametrize("connection", [1, 3])
@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_gradients_at_ragged_sizes(compiled, height, width, merge, connection):
    x, gates = random_case(2, 4, height, width, groups=2, connection=connection)
    upstream = random_upstream(x, gates, merge)
    actual = gradients(x, gates, upstream, compiled, merge=merge)
    expected = naive_gradients(x, gates, upstream, merge=merge)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one.cpu(), other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("channels", [9, 11, 13])  # the CPU sums them in two or three parts of different sizes
def test_gradients_of_shared_gates_sum_over_every_channel(compiled, channels):
    x, gates = random_case(1, channels, 5, 7, groups=1)
    upstream = random_upstream(x, gates, "mean")
    _, actual = gradients(x, gates, upstream, compiled, merge="mean")
    _, expected = naive_gradients(x, gates, upstream, merge="mean")
    torch.testing.assert_close(actual.cpu(), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("connection", [1, 3])
@pytest.mark.parametrize("merge", MERGES)
def test_gradients_are_as_accurate_as_the_dtype_allows(compiled, merge, connection, groups, dtype):
    x, gates = random_case(2, 6, 19, 34, groups=groups, connection=connection, dtype=dtype)
    upstream = random_upstream(x, gates, merge)
    actual = gradients(x, gates, upstream, compiled, merge=merge)
    naive = naive_gradients(x, gates, upstream, merge=merge)
    exact = naive_gradients(x.double(), gates.double(), upstream.double(), merge=merge)
    for trio in zip(actual, naive, exact, strict=True):
        assert_as_accurate(*trio)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_gradients_of_halves_are_rounded_once_however_long_the_scan(backend, dtype, direction):
    shape = (3, 500) if direction in ("right", "left") else (500, 3)
    x, gates = torch.rand(1, 2, *shape).to(dtype), torch.full((1, 1, 3, 1, *shape), 0.3, dtype=dtype)
    upstream = torch.rand(1, 2, *shape).to(dtype)
    actual = gradients(x, gates, upstream, backend, directions=[direction])
    exact = naive_gradients(x.double(), gates.double(), upstream.double(), directions=[direction])
    for one, other in zip(actual, exact, strict=True):
        one_rounding = torch.finfo(dtype).eps / 2 * other.abs()
        assert ((one.cpu().double() - other).abs() <= 1.01 * one_rounding + 2e-5).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("laid_out", ["x", "gates", "upstream"])
def test_gradients_under_any_strides(compiled, laid_out, layout, dtype):
    x, gates = random_case(2, 4, 9, 10, groups=2, dtype=dtype)
    x, gates = x.to(compiled.device), gates.to(compiled.device)
    x = LAYOUTS[layout](x) if laid_out == "x" else x
    gates = LAYOUTS[layout](gates) if laid_out == "gates" else gates
    upstream = random_upstream(x, gates, "max")
    if laid_out == "upstream":
        # An expanded upstream gradient repeats one value, so that the pixels near a tie cannot be left out of it.
        upstream = LAYOUTS[layout](torch.randn_like(upstream) if "expanded" in layout else upstream)
    actual = gradients(x, gates, upstream, compiled)
    naive = naive_gradients(x, gates, upstream)
    exact = naive_gradients(x.double(), gates.double(), upstream.double())
    for trio in zip(actual, naive, exact, strict=True):
        assert_as_accurate(*trio)


def test_gradient_of_a_sum(backend):
    # Its upstream gradient is a single one, expanded: whoever adds to it in place ruins it.
    x, gates = (tensor.to(backend.device).requires_grad_() for tensor in random_case(2, 4, 9, 10))
    actual = torch.autograd.grad(propagate(x, gates, backend=backend.name).sum(), (x, gates))
    expected = gradients(x, gates, torch.ones_like(x), backend)
    assert all(map(torch.equal, actual, expected))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("height", "width"), [(9, 10), (70, 131)])
@pytest.mark.parametrize("connection", [1, 3])
@pytest.mark.parametrize("merge", MERGES)
def test_only_what_requires_a_gradient_gets_one(backend, merge, connection, height, width, dtype):
    x, gates = random_case(2, 4, height, width, groups=2, connection=connection, dtype=dtype)
    x, gates = x.to(backend.device), gates.to(backend.device)
    upstream = random_upstream(x, gates, merge)
    grad_x, grad_gates = gradients(x, gates, upstream, backend, merge=merge)

    leaf = x.clone().requires_grad_()
    propagate(leaf, gates, merge=merge, backend=backend.name).backward(upstream)
    assert torch.equal(leaf.grad, grad_x)
    assert gates.grad is None

    leaf = gates.clone().requires_grad_()
    propagate(x, leaf, merge=merge, backend=backend.name).backward(upstream)
    assert torch.equal(leaf.grad, grad_gates)
    assert x.grad is None

    assert not propagate(x, gates, merge=merge, backend=backend.name).requires_grad


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_no_gradient_is_kept_where_none_is_wanted(backend, mode):
    x, gates = (tensor.to(backend.device).requires_grad_() for tensor in random_case(1, 2, 9, 10))
    expected = propagate(x, gates, backend=backend.name)
    with mode():
        out = propagate(x, gates, backend=backend.name)
    assert not out.requires_grad
    assert torch.equal(out, expected.detach())


@pytest.mark.parametrize("merge", MERGES)
def test_what_is_kept_for_the_backward_pass(compiled, merge):
    # The inputs, one byte a pixel for the winner and, on the CPU, a line of each scan for 64 that it began.
    x, gates = (tensor.to(compiled.device).requires_grad_() for tensor in random_case(2, 4, 9, 10, groups=2))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        propagate(x, gates, merge=merge, backend=compiled.name)
    inputs = {x.data_ptr(), gates.data_ptr()}
    assert inputs <= {tensor.data_ptr() for tensor in kept}
    beside = sum(tensor.nbytes for tensor in kept if tensor.data_ptr() not in inputs)
    lines = 8 * (2 * 9 + 2 * 10) * x.itemsize if compiled.name == "cpu" else 0
    assert beside == (x.numel() if merge == "max" else 0) + lines


# Where the maximum ties, the first direction in order gets the whole gradient.


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1), (1, 2)])
@pytest.mark.parametrize("connection", [1, 3])
def test_where_all_directions_tie_the_first_gets_the_whole_gradient(backend, connection, order, dtype):
    directions = [DIRECTIONS[d] for d in order]
    _, gates = random_case(2, 4, 9, 20, groups=2, connection=connection, directions=directions, dtype=dtype)
    # One value a channel, since a constant map stays as it is in every direction, to the last bit.
    x = torch.tensor([0, 1, 0.7, -3e4], dtype=dtype).view(4, 1, 1).expand(2, 4, 9, 20)
    upstream = torch.randn(2, 4, 9, 20).to(dtype)
    grad_x, grad_gates = gradients(x, gates, upstream, backend, directions=directions)
    first_x, _ = gradients(x, gates[:, :1], upstream, backend, directions=directions[:1])
    assert torch.equal(grad_x, first_x)
    assert grad_gates.count_nonzero() == 0  # on a constant map nothing depends on the gates


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 2, 0)])
@pytest.mark.parametrize("connection", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (9, 1), (17, 33)])
def test_saturated_maps_follow_the_first_of_the_directions_that_tie(backend, height, width, connection, order, dtype):
    directions = [DIRECTIONS[d] for d in order]
    x, gates = integer_case(2, 4, height, width, groups=2, connection=connection, directions=directions, dtype=dtype)
    maps = propagate_by_pixel(x, gates, directions, "none")
    upstream = torch.randint(-2, 3, x.shape, generator=torch.Generator().manual_seed(1)).to(dtype)

    # Route the gradient by hand: argmax over integers, the first one wins; then no maximum is left in the way.
    first = (maps == maps.amax(1, keepdim=True)).int().argmax(1, keepdim=True)
    routed = torch.zeros_like(maps).scatter_(1, first, upstream.double().unsqueeze(1))
    exact_x, exact_gates = naive_gradients(x.double(), gates.double(), routed, directions=directions, merge="none")
    grad_x, grad_gates = gradients(x, gates, upstream, backend, directions=directions)
    if dtype in (torch.float64, torch.float32):
        assert torch.equal(grad_x.cpu().double(), exact_x)
        assert torch.equal(grad_gates.cpu().double(), exact_gates)
    else:
        assert_as_accurate(grad_x.cpu(), exact_x.to(dtype), exact_x)
        assert_as_accurate(grad_gates.cpu(), exact_gates.to(dtype), exact_gates)


@pytest.mark.parametrize("connection", [1, 3])
def test_backends_agree_on_who_wins_in_saturated_maps(compiled, connection):
    # Ones in a corner of zeros, under gates of any value: several directions tie in most places.
    x, gates = random_case(1, 2, 40, 60, connection=connection)
    x.zero_()
    x[:, 0, 15:, 30:], x[:, 1, :30, :40] = 1, 1
    upstream = torch.randn(x.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    maps = propagate(x, gates, merge="none", backend="naive")
    assert ((maps == maps.amax(1, keepdim=True)).sum(1) > 1).double().mean() > 0.1
    torch.testing.assert_close(
        [grad.cpu() for grad in gradients(x, gates, upstream, compiled)], [*naive_gradients(x, gates, upstream)]
    )


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_maps_that_tie_only_after_rounding_do_not_tie(backend, dtype):
    # The second direction is larger by less than a half can hold.
    ulp = torch.finfo(dtype).eps
    x = torch.tensor([1 + ulp, 1.0, 3.0], dtype=dtype).view(1, 1, 1, 3)
    gates = torch.zeros(1, 2, 1, 1, 1, 3, dtype=dtype)
    gates[0, 1, ..., 1] = 1 / 32
    _, grad_gates = gradients(x, gates, torch.tensor([0.0, 1.0, 0.0], dtype=dtype).view(1, 1, 1, 3), backend,
                              directions=["left", "right"])  # fmt: skip
    assert grad_gates[0, :, 0, 0, 0, 1].tolist() == [0, ulp]


# Second derivatives.


def test_naive_has_second_derivatives_through_the_map():
    # h at the second pixel is (1 - g) x_1 + g x_0, so d2h / dg dx_0 = 1 and d2h / dg dx_1 = -1.
    x = torch.tensor([[[[2.0, 5.0]]]], requires_grad=True)
    gates = torch.full((1, 1, 1, 1, 1, 2), 0.25, requires_grad=True)
    out = propagate(x, gates, directions=["right"], backend="naive")
    (slope,) = torch.autograd.grad(out[..., 1].sum(), gates, create_graph=True)
    (mixed,) = torch.autograd.grad(slope.sum(), x)
    assert mixed.flatten().tolist() == [1, -1]


@pytest.mark.parametrize("merge", MERGES)
def test_compiled_backends_refuse_second_derivatives(compiled, merge):
    x, gates = (tensor.to(compiled.device).requires_grad_() for tensor in random_case(1, 2, 4, 5))
    out = propagate(x, gates, merge=merge, backend=compiled.name)
    grads = torch.autograd.grad(out.sum(), (x, gates), create_graph=True)
    with pytest.raises(RuntimeError, match=r"first derivatives only.*backend='naive'"):
        torch.autograd.grad(grads[1].sum(), x)


# Forward mode.


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # of PyTorch's own decompositions
def test_forward_mode_runs_naive_or_says_so(compiled):
    x, gates = (tensor.to(compiled.device) for tensor in random_case(1, 2, 4, 5))
    tangent = torch.ones_like(x)
    derivatives = [
        torch.func.jvp(lambda x, b=backend: propagate(x, gates, backend=b), (x,), (tangent,))[1]
        for backend in ("auto", "naive")
    ]
    assert torch.equal(*derivatives)
    assert derivatives[0].abs().sum() > 0
    with pytest.raises(RuntimeError, match=r"no forward-mode derivatives \(torch\.func.*backend='naive'"):
        torch.func.jvp(lambda x: propagate(x, gates, backend=compiled.name), (x,), (tangent,))
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, tangent)
        assert torch.equal(forward_ad.unpack_dual(propagate(dual, gates)).tangent, derivatives[1])
        with pytest.raises(RuntimeError, match=r"forward-mode.*backend='naive'"):
            propagate(dual, gates, backend=compiled.name)
