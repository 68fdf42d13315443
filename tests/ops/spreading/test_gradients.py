"""Gradients of `spread`: against finite differences and naive autograd, for every dtype, stride and size."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from spatialprop.ops import neighbour_labels, spread
from tests.cases import ALL_DTYPES, LAYOUTS
from tests.spread_cases import NEIGHBOURHOODS, assert_right, neighbours_in_words, spread_case


def gradients(x, affinity, upstream, *options, backend="naive", device="cpu"):
    """Gradients with respect to x and affinity, of leaves that keep the strides of what is given."""
    x, affinity = (tensor.detach().to(device).requires_grad_() for tensor in (x, affinity))
    out = spread(x, affinity, *options, backend=backend)
    return torch.autograd.grad(out, (x, affinity), upstream.to(device))


def upstream_for(x):
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(x.dtype)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize(("size", "dilations", "kernel"), [((1, 1), [1], 3), ((3, 4), [1, 2], 3), ((1, 5), [2], 5)])
def test_gradcheck(backend, size, dilations, kernel, steps):
    x, affinity = spread_case(2, 2, *size, neighbours=len(neighbours_in_words(dilations, kernel)))
    inputs = [tensor.to(backend.device).requires_grad_() for tensor in (x, affinity)]
    assert gradcheck(lambda x, affinity: spread(x, affinity, dilations, kernel, steps, backend.name), inputs)


def test_naive_gradgradcheck():
    inputs = [tensor.requires_grad_() for tensor in spread_case(1, 2, 3, 3, neighbours=8)]
    assert gradgradcheck(lambda x, affinity: spread(x, affinity, [1], 3, 2, "naive"), inputs)


@pytest.mark.parametrize(("size", "dilations", "kernel"), NEIGHBOURHOODS, ids=str)
def test_gradients_at_ragged_sizes(compiled, size, dilations, kernel):
    x, affinity = spread_case(2, 5, *size, neighbours=len(neighbours_in_words(dilations, kernel)))
    upstream = upstream_for(x)
    actual = gradients(x, affinity, upstream, dilations, kernel, 4, backend=compiled.name, device=compiled.device)
    for one, other in zip(actual, gradients(x, affinity, upstream, dilations, kernel, 4), strict=True):
        torch.testing.assert_close(one.cpu(), other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
@pytest.mark.parametrize("channels", [1, 9])
def test_gradients_are_as_accurate_as_the_dtype_allows(compiled, channels, dtype):
    x, affinity = spread_case(1, channels, 19, 41, dtype=dtype)
    upstream, options = upstream_for(x), ([1, 2, 4, 8], 3, 10)
    actual = gradients(x, affinity, upstream, *options, backend=compiled.name, device=compiled.device)
    naive = gradients(x, affinity, upstream, *options)
    exact = gradients(x.double(), affinity.double(), upstream.double(), *options)
    for trio in zip(actual, naive, exact, strict=True):
        assert_right(*trio)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("laid_out", ["x", "affinity", "upstream"])
def test_gradients_under_any_strides(compiled, laid_out, layout, dtype):
    x, affinity = spread_case(2, 3, 9, 18, neighbours=8, dtype=dtype)
    tensors = {"x": x, "affinity": affinity, "upstream": upstream_for(x)}
    tensors[laid_out] = LAYOUTS[layout](tensors[laid_out])
    options = ([2], 3, 3)
    actual = gradients(*tensors.values(), *options, backend=compiled.name, device=compiled.device)
    naive = gradients(*tensors.values(), *options)
    exact = gradients(*(tensor.double() for tensor in tensors.values()), *options)
    for trio in zip(actual, naive, exact, strict=True):
        assert_right(*trio)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_only_what_requires_a_gradient_gets_one(compiled, steps, dtype):
    x, affinity = (tensor.to(compiled.device) for tensor in spread_case(2, 5, 9, 20, neighbours=8, dtype=dtype))
    upstream, options = upstream_for(x.cpu()).to(compiled.device), ([2], 3, steps, compiled.name)
    expected = gradients(x, affinity, upstream, *options[:3], backend=compiled.name, device=compiled.device)
    for index in (0, 1):
        inputs = [x.clone(), affinity.clone()]
        inputs[index].requires_grad_()
        spread(*inputs, *options).backward(upstream)
        assert torch.equal(inputs[index].grad, expected[index])
        assert inputs[1 - index].grad is None


def test_affinity_to_the_outside_has_no_gradient(backend):
    x, affinity = spread_case(1, 2, 9, 20, neighbours=16)
    outside = neighbour_labels(torch.zeros(1, 9, 20).long(), [2, 12]) == -1
    affinity = affinity.masked_fill(outside, torch.nan)
    options = ([2, 12], 3, 3)
    _, gradient = gradients(x, affinity, upstream_for(x), *options, backend=backend.name, device=backend.device)
    assert (gradient[outside.to(backend.device)] == 0).all()
    assert gradient.isfinite().all()


def test_gradient_of_negative_affinities(compiled):
    x, affinity = spread_case(1, 2, 9, 20, neighbours=8)
    affinity, upstream = (affinity - 0.5) / 5, upstream_for(x)
    actual = gradients(x, affinity, upstream, [2], 3, 3, backend=compiled.name, device=compiled.device)
    for one, other in zip(actual, gradients(x, affinity, upstream, [2], 3, 3), strict=True):
        torch.testing.assert_close(one.cpu(), other, rtol=1e-10, atol=1e-10)


def test_two_calls_have_the_gradient_of_one(compiled):
    x, affinity = (t.to(compiled.device).requires_grad_() for t in spread_case(1, 3, 9, 20, neighbours=8))
    at_once = spread(x, affinity, [2], steps=6, backend=compiled.name)
    halfway = spread(x, affinity, [2], steps=3, backend=compiled.name)
    in_two = spread(halfway, affinity, [2], steps=3, backend=compiled.name)
    for one, other in zip(*(torch.autograd.grad(out.sum(), (x, affinity)) for out in (in_two, at_once)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_compiled_backends_refuse_second_derivatives(compiled):
    x, affinity = (t.to(compiled.device).requires_grad_() for t in spread_case(1, 1, 3, 4, neighbours=8))
    out = spread(x, affinity, [1], backend=compiled.name)
    (grad,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"first derivatives only.*spread\(\.\.\., backend='naive'\)"):
        grad.sum().backward()


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # of PyTorch's own decompositions
def test_forward_mode(compiled):
    x, affinity = (tensor.to(compiled.device) for tensor in spread_case(1, 2, 5, 6, neighbours=8))
    tangent = torch.ones_like(x)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, tangent)
        out = torch.autograd.forward_ad.unpack_dual(spread(dual, affinity, [1]))
        with pytest.raises(RuntimeError, match=r"no forward-mode derivatives.*backend='naive'"):
            spread(dual, affinity, [1], backend=compiled.name)
    torch.testing.assert_close(out.tangent, tangent)  # linear in the map, and a constant map stays constant
