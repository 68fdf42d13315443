"""`spread` as a registered operator, and the same bits from any threads and processes."""

import io
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from spatialprop.ops import spread
from tests.cases import ALL_DTYPES, HALVES
from tests.ops.propagation.test_concurrency import child_ends_well
from tests.spread_cases import spread_case

INDUCTOR = [pytest.mark.slow, pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")]

# PyTorch's own compiler warns of PyTorch's own past; Python 3.12 warns of threads and fork.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def _forget_what_was_compiled():
    torch.compiler.reset()


def leaves(backend, *args, **options):
    return [tensor.to(backend.device).requires_grad_() for tensor in spread_case(*args, neighbours=16, **options)]


def values_and_gradients(function, x, affinity, *options):
    out = function(x, affinity, *options)
    return [out.detach(), *torch.autograd.grad(out, (x, affinity), torch.ones_like(out))]


def layer(x, affinity, backend):
    """Something before and something after, which the compiler must join up with the operator."""
    return spread(x.sin(), affinity * 0.5, [1, 3], steps=3, backend=backend).square()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_opcheck(compiled, dtype):
    x, affinity = leaves(compiled, 2, 3, 5, 6, dtype=dtype)
    torch.library.opcheck(torch.ops.spatialprop.spread.default, (x, affinity, [1, 2], 3, 2))
    x, affinity = x.detach(), affinity.detach()
    for needed in [(True, True), (True, False), (False, True)]:
        torch.library.opcheck(
            torch.ops.spatialprop.spread_backward.default, (torch.ones_like(x), x, affinity, [1, 2], 3, 2, *needed)
        )


def test_meta_tensors_give_the_shape_without_the_work():
    x, affinity = spread_case(2, 4, 5, 6, neighbours=16, dtype=torch.bfloat16)
    out = spread(x.to("meta"), affinity.to("meta"), [1, 2])
    assert (out.device.type, out.shape, out.dtype) == ("meta", x.shape, x.dtype)


@pytest.mark.parametrize("compiler", ["aot_eager", pytest.param("inductor", marks=INDUCTOR)])
def test_compile_once_for_all_sizes(compiled, compiler):
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return torch._dynamo.lookup_backend(compiler)(graph, inputs)

    function = torch.compile(layer, fullgraph=True, dynamic=True, backend=count)
    for height, width in [(9, 10), (17, 33), (4, 7)]:
        x, affinity = leaves(compiled, 2, 4, height, width)
        expected = values_and_gradients(layer, x, affinity, compiled.name)
        actual = values_and_gradients(function, x, affinity, compiled.name)
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)
    assert len(graphs) == 1


class Layer(torch.nn.Module):
    def forward(self, x, affinity):
        return spread(x, affinity, [1, 3], steps=3)


def test_export_for_any_batch_and_size(compiled):
    batch, height, width = (torch.export.Dim(name, min=2, max=256) for name in ("batch", "height", "width"))
    inputs = tuple(tensor.detach() for tensor in leaves(compiled, 2, 4, 6, 7))
    program = torch.export.export(Layer(), inputs, dynamic_shapes=({0: batch, 2: height, 3: width},) * 2)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    module = torch.export.load(file).module()
    for size in [(2, 6, 7), (3, 17, 33), (5, 40, 9)]:
        x, affinity = leaves(compiled, size[0], 4, *size[1:])
        actual, expected = (values_and_gradients(function, x, affinity) for function in (module, Layer()))
        assert all(map(torch.equal, actual, expected))


@pytest.mark.parametrize("half", HALVES, ids=str)
def test_autocast_casts_both_inputs_but_not_float64(backend, half):
    x, affinity = leaves(backend, 1, 2, 9, 10, dtype=torch.float32)
    with torch.autocast(backend.device, dtype=half):
        out = spread(x, affinity, [1, 2], backend=backend.name)
        mixed = spread(x, affinity.to(half), [1, 2], backend=backend.name)
        double = spread(x.double(), affinity.double(), [1, 2], backend=backend.name)
    assert out.dtype == half
    assert torch.equal(out, spread(x.to(half), affinity.to(half), [1, 2], backend=backend.name))
    assert torch.equal(mixed, out)
    assert double.dtype == torch.float64
    grads = torch.autograd.grad(out.float().sum(), (x, affinity))
    assert [grad.dtype for grad in grads] == [torch.float32, torch.float32]


def test_functional_gradients_are_those_of_autograd(compiled):
    x, affinity = leaves(compiled, 3, 2, 5, 6)
    expected = torch.autograd.grad(spread(x, affinity, [1, 3], backend=compiled.name).square().sum(), (x, affinity))

    def loss(x, affinity):
        return spread(x[None], affinity[None], [1, 3], backend=compiled.name).square().sum()

    actual = torch.vmap(torch.func.grad(loss, argnums=(0, 1)))(x.detach(), affinity.detach())
    assert all(map(torch.equal, actual, expected))


# Threads and processes.


def run(x, affinity, backend):
    return values_and_gradients(lambda x, affinity: spread(x, affinity, [1, 3], steps=4, backend=backend), x, affinity)


def same_bits(results, others):
    return all(map(torch.equal, results, others))


@pytest.mark.usefixtures("several_threads")
@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
def test_same_bits_for_any_number_of_threads(compiled, dtype):
    x, affinity = leaves(compiled, 2, 5, 37, 70, dtype=dtype)
    first = run(x, affinity, compiled.name)
    for count in (1, 2, 3, 5, 3):
        torch.set_num_threads(count)
        assert same_bits(run(x, affinity, compiled.name), first)


@pytest.mark.usefixtures("several_threads")
def test_several_threads_at_once(backend):
    cases = [
        leaves(backend, 2, 4, 20 + 7 * i, 50 - 5 * i, seed=i, dtype=dtype)
        for i, dtype in enumerate([torch.float32, torch.float64, torch.bfloat16] * 2)
    ]
    expected = [run(*case, backend.name) for case in cases]
    with ThreadPoolExecutor(len(cases)) as pool:
        for _ in range(3):
            for results, alone in zip(pool.map(lambda case: run(*case, backend.name), cases), expected, strict=True):
                assert same_bits(results, alone)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.usefixtures("several_threads")
def test_after_fork():
    # With the backend's threads already running in the parent, none of which the child has.
    x, affinity = spread_case(2, 5, 64, 65, neighbours=16, dtype=torch.float32)
    options = ([1, 3], 3, 4)

    def work():
        out = torch.ops.spatialprop.spread(x, affinity, *options)
        return [out, *torch.ops.spatialprop.spread_backward(out, x, affinity, *options, True, True)]

    expected = [result.numpy().tobytes() for result in work()]

    def child():
        # In a forked child PyTorch's own threads must not be called upon: numpy compares.
        assert [result.numpy().tobytes() for result in work()] == expected

    assert child_ends_well(child)
    child()  # the parent goes on as before


def test_inference_memory_does_not_grow_with_steps(monkeypatch):
    from spatialprop.ops.spreading.cpu import launch

    taken = []
    empty = launch.empty
    monkeypatch.setattr(launch, "empty", lambda shape, dtype: taken.append(shape) or empty(shape, dtype))
    x, affinity = spread_case(1, 4, 30, 40, neighbours=16, dtype=torch.float32)
    for steps in (1, 30):
        taken.clear()
        spread(x, affinity, [1, 2], steps=steps, backend="cpu")
        assert len(taken) == 5  # the result, two maps, weights and their scales
