"""The registered operator: opcheck, torch.compile, torch.export, meta tensors, autocast, torch.func."""

import copy
import io
import shutil
import subprocess
import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from spatialprop import SpatialPropagation, propagate
from tests.cases import HALVES, MERGES, random_case, slow

INDUCTOR = [pytest.mark.slow, pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")]

# PyTorch's own compiler warns of PyTorch's own past.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


@pytest.fixture(autouse=True)
def _forget_what_was_compiled():
    torch.compiler.reset()


def leaves(backend, *args, **options):
    return [tensor.to(backend.device).requires_grad_() for tensor in random_case(*args, **options)]


# Registration.


@pytest.mark.parametrize(("connection", "dtype"), [(3, torch.float64), (1, torch.bfloat16)])
@pytest.mark.parametrize("merge", MERGES)
def test_opcheck_of_the_forward_operator(compiled, merge, connection, dtype):
    x, gates = leaves(compiled, 2, 4, 70, 6, groups=2, connection=connection, directions=["down", "left"], dtype=dtype)
    torch.library.opcheck(torch.ops.spatialprop.propagate.default, (x, gates, [1, 2], merge, True))
    torch.library.opcheck(torch.ops.spatialprop.propagate.default, (x.detach(), gates.detach(), [1, 2], merge, False))


@pytest.mark.parametrize("needed", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("connection", [slow(1), 3])
@pytest.mark.parametrize("merge", MERGES)
def test_opcheck_of_the_backward_operator(compiled, merge, connection, needed):
    x, gates = (t.detach() for t in leaves(compiled, 2, 4, 5, 70, groups=2, connection=connection))
    out, *kept = torch.ops.spatialprop.propagate(x, gates, [0, 1, 2, 3], merge, True)
    torch.library.opcheck(
        torch.ops.spatialprop.propagate_backward.default,
        (torch.ones_like(out), x, gates, *kept, [0, 1, 2, 3], merge, None, *needed),
    )


class Recorder(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.namespaces = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.namespaces.add(func.namespace)
        return func(*args, **(kwargs or {}))


def test_compiled_backends_are_one_operator_and_naive_is_plain_pytorch(backend):
    x, gates = (tensor.to(backend.device) for tensor in random_case(1, 2, 3, 4))
    with Recorder() as recorder:
        propagate(x, gates, backend=backend.name)
    assert ("spatialprop" in recorder.namespaces) == (backend.name != "naive")


@pytest.mark.parametrize("merge", MERGES)
def test_meta_tensors_give_the_shape_without_the_work(merge):
    x, gates = random_case(2, 4, 5, 6, groups=2, dtype=torch.bfloat16)
    expected = propagate(x, gates, merge=merge, backend="naive")
    out = propagate(x.to("meta"), gates.to("meta"), merge=merge)
    assert out.device.type == "meta"
    assert (out.shape, out.dtype) == (expected.shape, expected.dtype)


@pytest.mark.slow
def test_first_call_does_not_import_the_compiler():
    # It would take a second of the first call of every process.
    code = """
import sys, torch
from spatialprop import propagate
x, gates = torch.rand(1, 2, 3, 4, requires_grad=True), torch.rand(1, 4, 3, 1, 3, 4)
propagate(x, gates / 3).sum().backward()
with torch.inference_mode():
    propagate(x, gates / 3)
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# torch.compile.


def step(x, gates, merge, backend):
    """Something before and something after, which the compiler must join up with the operator."""
    return propagate(x.sin(), gates * 0.5, merge=merge, backend=backend).square()


def values_and_gradients(function, x, gates, *options):
    out = function(x, gates, *options)
    return [out, *torch.autograd.grad(out.sum(), (x, gates))]


@pytest.mark.parametrize(
    ("merge", "compiler"),
    [*((merge, "aot_eager") for merge in MERGES), pytest.param("max", "inductor", marks=INDUCTOR)],
)
def test_compile_in_one_graph(compiled, merge, compiler):
    function = torch.compile(step, fullgraph=True, backend=compiler)
    x, gates = leaves(compiled, 2, 4, 9, 10, groups=2)
    expected = values_and_gradients(step, x, gates, merge, compiled.name)
    actual = values_and_gradients(function, x, gates, merge, compiled.name)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)
    with torch.no_grad():
        torch.testing.assert_close(function(x, gates, merge, compiled.name), expected[0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("compiler", ["aot_eager", pytest.param("inductor", marks=INDUCTOR)])
def test_compile_once_for_all_sizes(compiled, compiler):
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return torch._dynamo.lookup_backend(compiler)(graph, inputs)

    function = torch.compile(step, fullgraph=True, dynamic=True, backend=count)
    for height, width in [(9, 10), (17, 133), (4, 7)]:
        x, gates = leaves(compiled, 2, 4, height, width, groups=2)
        expected = values_and_gradients(step, x, gates, "max", compiled.name)
        actual = values_and_gradients(function, x, gates, "max", compiled.name)
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)
    assert len(graphs) == 1


def test_compile_under_autocast(compiled):
    @torch.compile(fullgraph=True, backend="aot_eager")
    def function(x, gates):
        with torch.autocast(compiled.device, dtype=torch.bfloat16):
            return propagate(x, gates, backend=compiled.name)

    x, gates = leaves(compiled, 1, 2, 5, 6, dtype=torch.float32)
    expected = propagate(x.bfloat16(), gates.bfloat16(), backend=compiled.name)
    assert torch.equal(function(x, gates), expected)


def test_compile_the_layer(compiled):
    layer = SpatialPropagation(4, groups=2, backend=compiled.name)
    function = torch.compile(copy.deepcopy(layer), fullgraph=True, backend="aot_eager")
    x = torch.rand(1, 4, 6, 7, device=compiled.device)
    guidance = torch.randn(1, layer.guidance_channels, 6, 7, device=compiled.device, requires_grad=True)
    expected, actual = layer(x, guidance), function(x, guidance)
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(*(torch.autograd.grad(out.sum(), guidance) for out in (actual, expected)))


# torch.export.


def saved_and_loaded(program):
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    return torch.export.load(file).module()


@pytest.mark.parametrize("merge", ["max", "mean"])
def test_export_the_layer(compiled, merge):
    layer = SpatialPropagation(4, groups=2, merge=merge, backend=compiled.name).eval()
    x = torch.rand(2, 4, 6, 7, device=compiled.device)
    guidance = torch.randn(2, layer.guidance_channels, 6, 7, device=compiled.device)
    program = torch.export.export(layer, (x, guidance))
    assert sum(node.target == torch.ops.spatialprop.propagate.default for node in program.graph.nodes) == layer.units
    assert torch.equal(saved_and_loaded(program)(x, guidance), layer(x, guidance))


def test_export_for_any_batch_and_size(compiled):
    layer = SpatialPropagation(4, groups=1, backend=compiled.name).eval()
    batch, height, width = (torch.export.Dim(name, min=2, max=256) for name in ("batch", "height", "width"))
    shapes = ({0: batch, 2: height, 3: width},) * 2
    inputs = [torch.rand(2, channels, 6, 7, device=compiled.device) for channels in (4, layer.guidance_channels)]
    module = saved_and_loaded(torch.export.export(layer, tuple(inputs), dynamic_shapes=shapes))
    for size in [(2, 6, 7), (3, 17, 33), (5, 40, 9)]:
        x, guidance = (torch.rand(size[0], c, *size[1:], device=compiled.device) for c in (4, layer.guidance_channels))
        assert torch.equal(module(x, guidance), layer(x, guidance))


@pytest.mark.parametrize("merge", MERGES)
def test_program_exported_without_gradients_has_the_right_ones(compiled, merge):
    layer = SpatialPropagation(4, groups=2, merge=merge, units=1, backend=compiled.name)
    x = torch.rand(2, 4, 6, 7, device=compiled.device)
    guidance = torch.randn(2, layer.guidance_channels, 6, 7, device=compiled.device)
    module = saved_and_loaded(torch.export.export(layer, (x, guidance)))
    x, guidance = x.requires_grad_(), guidance.requires_grad_()
    upstream = torch.randn(layer(x, guidance).shape, device=compiled.device)
    expected, actual = (torch.autograd.grad(f(x, guidance), (x, guidance), upstream) for f in (layer, module))
    torch.testing.assert_close(actual, expected)


# Autocast.


@pytest.mark.parametrize("half", HALVES, ids=str)
def test_autocast_casts_both_inputs(backend, half):
    x, gates = leaves(backend, 1, 2, 9, 10, dtype=torch.float32)
    with torch.autocast(backend.device, dtype=half):
        out = propagate(x, gates, backend=backend.name)
        mixed = propagate(x, gates.to(half), backend=backend.name)
    assert out.dtype == half
    assert torch.equal(out, propagate(x.to(half), gates.to(half), backend=backend.name))
    assert torch.equal(mixed, out)
    grads = torch.autograd.grad(out.float().sum(), (x, gates))
    assert [grad.dtype for grad in grads] == [torch.float32, torch.float32]


def test_autocast_leaves_float64_as_it_is(backend):
    x, gates = leaves(backend, 1, 2, 9, 10, dtype=torch.float64)
    with torch.autocast(backend.device, dtype=torch.bfloat16):
        out = propagate(x, gates, backend=backend.name)
        assert torch.equal(out, propagate(x, gates, backend=backend.name))
        with pytest.raises(TypeError, match=r"one dtype; got torch\.float64 and torch\.bfloat16"):
            propagate(x, gates.float(), backend=backend.name)
    assert out.dtype == torch.float64
    assert torch.equal(out, propagate(x, gates, backend=backend.name))


def test_autocast_switched_off_inside_changes_nothing(backend):
    x, gates = leaves(backend, 1, 2, 9, 10, dtype=torch.float32)
    with torch.autocast(backend.device, dtype=torch.bfloat16), torch.autocast(backend.device, enabled=False):
        out = propagate(x, gates, backend=backend.name)
    assert torch.equal(out, propagate(x, gates, backend=backend.name))


# torch.func.


def loss_of_sample(x, gates, backend):
    return propagate(x[None], gates[None], backend=backend).square().sum()


def autograd_of(x, gates, backend):
    x, gates = x.detach().requires_grad_(), gates.detach().requires_grad_()
    return torch.autograd.grad(propagate(x, gates, backend=backend).square().sum(), (x, gates))


@pytest.mark.parametrize("groups", [2, 1])
def test_functional_gradients_are_those_of_autograd(compiled, groups):
    x, gates = (tensor.to(compiled.device) for tensor in random_case(3, 2, 5, 6, groups=groups))
    expected = autograd_of(x, gates, compiled.name)
    per_sample = torch.vmap(torch.func.grad(loss_of_sample, argnums=(0, 1)), in_dims=(0, 0, None))
    assert all(map(torch.equal, per_sample(x, gates, compiled.name), expected))
    assert all(map(torch.equal, per_sample(x, gates, "auto"), expected))

    def loss(x, gates):
        each = torch.vmap(lambda x, gates: propagate(x[None], gates[None], backend=compiled.name))
        return each(x, gates).square().sum()

    assert all(map(torch.equal, torch.func.grad(loss, argnums=(0, 1))(x, gates), expected))


def test_jacobian_through_the_compiled_backends(compiled):
    x, gates = (tensor.to(compiled.device) for tensor in random_case(1, 2, 3, 4, groups=1))
    actual, expected = (
        torch.func.jacrev(lambda gates, name=name: propagate(x, gates, backend=name))(gates)
        for name in (compiled.name, "naive")
    )
    torch.testing.assert_close(actual, expected)


def test_what_is_constant_for_a_functional_gradient_keeps_its_backend(compiled):
    x, gates = (tensor.to(compiled.device) for tensor in random_case(3, 2, 5, 6))
    gradient = torch.func.grad(lambda weight: (weight * propagate(x, gates, backend=compiled.name)).sum())
    assert torch.equal(gradient(torch.ones_like(x)), propagate(x, gates, backend=compiled.name))


@pytest.mark.parametrize("in_dims", [(0, 0), (0, None), (None, 0), (1, 0)], ids=str)
def test_vmap_runs_the_backend_that_was_asked_for(compiled, in_dims):
    x, gates = (tensor.to(compiled.device) for tensor in random_case(3, 3, 5, 6, groups=1))
    x, gates = (one if dim is not None else one[0] for one, dim in zip((x, gates), in_dims, strict=True))

    def each(name):
        return torch.vmap(lambda x, gates: propagate(x[None], gates[None], backend=name), in_dims)(x, gates)

    torch.testing.assert_close(each(compiled.name), each("naive"))


def directional_derivative(backend, mapped, x, gates):
    def function(x):
        if not mapped:
            return propagate(x, gates, merge="mean", backend=backend)
        each = torch.vmap(lambda x, gates: propagate(x[None], gates[None], merge="mean", backend=backend))
        return each(x, gates).flatten(0, 1)

    return torch.func.jvp(function, (x,), (torch.ones_like(x),))[1]


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # of PyTorch's own decompositions
@pytest.mark.parametrize("mapped", [False, True])
def test_forward_mode_runs_naive_or_names_it(compiled, mapped):
    x, gates = (tensor.to(compiled.device) for tensor in random_case(3, 2, 5, 6))
    expected = propagate(torch.ones_like(x), gates, merge="mean", backend="naive")  # linear in the map
    for name in ["naive"] if mapped else ["naive", "auto"]:  # inside vmap "auto" cannot tell what it is part of
        torch.testing.assert_close(directional_derivative(name, mapped, x, gates), expected)
    for name in ["auto", compiled.name] if mapped else [compiled.name]:
        with pytest.raises(RuntimeError, match=r"no forward-mode derivatives \(torch\.func.*backend='naive'"):
            directional_derivative(name, mapped, x, gates)


def test_second_functional_derivatives_name_the_naive_backend(compiled):
    x, gates = (tensor.to(compiled.device) for tensor in random_case(1, 1, 2, 3))

    def slope(gates, name):
        return torch.func.grad(lambda gates: propagate(x, gates, backend=name).square().sum())(gates).sum()

    assert torch.func.grad(slope)(gates, "naive").isfinite().all()
    with pytest.raises(RuntimeError, match=r"first derivatives only.*backend='naive'"):
        torch.func.grad(slope)(gates, compiled.name)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_functional_derivatives_inside_torch_compile(compiled):
    x, gates = (tensor.to(compiled.device) for tensor in random_case(3, 2, 5, 6))

    def per_sample(name):
        function = torch.vmap(torch.func.grad(loss_of_sample, argnums=(0, 1)), in_dims=(0, 0, None))
        return torch.compile(function, fullgraph=True, backend="aot_eager")(x, gates, name)

    torch.testing.assert_close(per_sample("naive"), autograd_of(x, gates, compiled.name))
    with pytest.raises(torch._dynamo.exc.TorchRuntimeError, match="must override the setup_context"):
        per_sample(compiled.name)  # PyTorch refuses, in words of its own
    for mapped in (False, True):
        function = torch.compile(directional_derivative, fullgraph=True, backend="aot_eager")
        expected = propagate(torch.ones_like(x), gates, merge="mean", backend="naive")
        torch.testing.assert_close(function("naive", mapped, x, gates), expected)
        with pytest.raises(RuntimeError):  # and never a derivative of zero
            function(compiled.name, mapped, x, gates)
