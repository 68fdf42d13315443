"""The layer `SpatialPropagation`: the layout of its guidance, its units, and what it refuses."""

import copy
import pickle
import shutil

import numpy as np
import pytest
import torch

from spatialprop import SpatialPropagation, normalize_gates, propagate
from spatialprop.ops import DIRECTIONS
from tests.reference import neighbours_of


def inputs(layer, batch=2, height=6, width=7, device="cpu"):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(batch, layer.channels, height, width, generator=generator)
    guidance = torch.randn(batch, layer.guidance_channels, height, width, generator=generator)
    return x.to(device), guidance.to(device)


def gates_by_channel(guidance, unit, directions, connection, groups):
    """(N, D, K, G, H, W), one channel of the guidance at a time."""
    batch, _, height, width = guidance.shape
    gates = guidance.new_empty(batch, directions, connection, groups, height, width)
    for d in range(directions):
        for k in range(connection):
            for g in range(groups):
                gates[:, d, k, g] = guidance[:, ((unit * directions + d) * connection + k) * groups + g]
    return gates


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a compiler")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of PyTorch's own
def test_stays_stable_where_it_is_compiled_under_autocast():
    """Rounded to bfloat16 before they are divided, gates sum to 1.002: after 3000 columns that is a factor of 400."""
    torch.manual_seed(0)
    layer = SpatialPropagation(2, backend="cpu")
    x, guidance = torch.rand(1, 2, 6, 3000), 5 * torch.randn(1, layer.guidance_channels, 6, 3000).abs()
    compiled = torch.compile(layer, fullgraph=True)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found, expected = compiled(x, guidance), layer(x, guidance)
    assert found.abs().max() <= 1.01
    torch.testing.assert_close(found.float(), expected.float(), atol=0.02, rtol=0)


def test_paper_layer_takes_384_channels():
    assert SpatialPropagation(32).guidance_channels == 384


@pytest.mark.parametrize(
    ("options", "channels"),
    [
        ({}, 4 * 3 * 12),
        ({"connection": "one_way"}, 4 * 12),
        ({"groups": 1}, 4 * 3),
        ({"groups": 3, "directions": ["up", "left"]}, 2 * 3 * 3),
        ({"separate_gates": True}, 2 * 4 * 3 * 12),
        ({"separate_gates": True, "units": 3, "groups": 1}, 3 * 4 * 3),
        ({"separate_gates": True, "units": 1}, 4 * 3 * 12),
        ({"units": 5}, 4 * 3 * 12),
    ],
)
def test_number_of_guidance_channels(options, channels):
    layer = SpatialPropagation(12, **options)
    assert layer.guidance_channels == channels
    x, guidance = inputs(layer)
    assert layer(x, guidance).shape == x.shape


@pytest.mark.parametrize("merge", ["max", "mean"])
@pytest.mark.parametrize("separate_gates", [False, True])
@pytest.mark.parametrize("units", [1, 2, 3])
@pytest.mark.parametrize("groups", [None, 1, 2])
@pytest.mark.parametrize("connection", ["one_way", "three_way"])
def test_equals_units_composed_by_hand(backend, connection, groups, units, separate_gates, merge):
    directions = ["left", "down", "right"]
    layer = SpatialPropagation(
        4,
        connection=connection,
        groups=groups,
        units=units,
        separate_gates=separate_gates,
        merge=merge,
        directions=directions,
        backend=backend.name,
    )
    x, guidance = inputs(layer, device=backend.device)
    expected = x
    for unit in range(units):
        raw = gates_by_channel(
            guidance, unit if separate_gates else 0, 3, 3 if connection == "three_way" else 1, groups or 4
        )
        expected = propagate(expected, normalize_gates(raw), directions=directions, merge=merge, backend=backend.name)
    torch.testing.assert_close(layer(x, guidance), expected)


@pytest.mark.parametrize(
    ("connection", "normalization"),
    [
        *[("three_way", mode) for mode in ("clamp", "unit", "stochastic")],
        *[("one_way", mode) for mode in ("clamp", "unit", "stochastic", "tanh", "sigmoid")],
    ],
)
def test_every_normalization(backend, connection, normalization):
    layer = SpatialPropagation(2, connection=connection, normalization=normalization, units=1, backend=backend.name)
    x, guidance = inputs(layer, device=backend.device)
    raw = gates_by_channel(guidance, 0, 4, 3 if connection == "three_way" else 1, 2)
    expected = propagate(x, normalize_gates(raw, normalization), backend=backend.name)
    torch.testing.assert_close(layer(x, guidance), expected)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("k", [0, 1, 2])
def test_each_guidance_channel_is_the_gate_that_its_place_says(backend, direction, k):
    layer = SpatialPropagation(2, units=1, merge="none", backend=backend.name)
    x, guidance = inputs(layer, batch=1, height=5, width=5, device=backend.device)
    d = DIRECTIONS.index(direction)
    down, right = neighbours_of(direction, 3)[k]
    for group in (0, 1):
        only = torch.zeros_like(guidance)
        only[0, (d * 3 + k) * 2 + group, 2, 2] = 1
        expected = x.unsqueeze(1).repeat(1, 4, 1, 1, 1)
        expected[0, d, group, 2, 2] = x[0, group, 2 + down, 2 + right]
        assert torch.equal(layer(x, only), expected)


def test_merge_none_keeps_one_map_a_direction():
    layer = SpatialPropagation(4, units=1, merge="none", directions=["up", "right"])
    x, guidance = inputs(layer)
    assert layer(x, guidance).shape == (2, 2, 4, 6, 7)


def test_gradients_reach_map_and_guidance_through_all_units(backend):
    layer = SpatialPropagation(4, groups=2, separate_gates=True, units=3, backend=backend.name)
    x, guidance = (tensor.requires_grad_() for tensor in inputs(layer, device=backend.device))
    grad_x, grad_guidance = torch.autograd.grad(layer(x, guidance).square().sum(), (x, guidance))
    assert grad_x.abs().sum() > 0
    of_units = grad_guidance.unflatten(1, (3, -1)).abs().sum((0, 2, 3, 4))
    assert (of_units > 0).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_any_dtype(backend, dtype):
    layer = SpatialPropagation(4, backend=backend.name)
    x, guidance = (tensor.to(dtype) for tensor in inputs(layer, device=backend.device))
    out = layer(x, guidance)
    assert out.dtype == dtype
    assert out.isfinite().all()


def test_layer_has_no_state():
    layer = SpatialPropagation(4)
    assert layer.state_dict() == {}
    assert list(layer.parameters()) == list(layer.buffers()) == []


def test_representation_tells_the_choices():
    layer = SpatialPropagation(8, connection="one_way", groups=2, normalization="tanh", units=3, merge="mean")
    text = repr(layer)
    for part in ("8, ", "connection='one_way'", "groups=2", "normalization='tanh'", "units=3", "merge='mean'"):
        assert part in text
    assert "separate_gates=False" in text
    assert "directions=('right', 'down', 'left', 'up')" in text
    assert "backend='auto'" in text


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_do_the_same(twin):
    layer = SpatialPropagation(4, groups=2, directions=["up", "left"], normalization="unit", separate_gates=True)
    other = twin(layer)
    x, guidance = inputs(layer)
    assert repr(other) == repr(layer)
    assert torch.equal(other(x, guidance), layer(x, guidance))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 0}, r"channels must be at least 1; got 0"),
        ({"connection": "two_way"}, r"connection must be one of one_way, three_way; got 'two_way'"),
        ({"groups": 3}, r"groups must divide the channels: groups = 3, channels = 4"),
        ({"groups": 0}, r"groups must be at least 1; got 0"),
        ({"groups": 8}, r"groups must divide the channels: groups = 8, channels = 4"),
        ({"units": 0}, r"units must be at least 1; got 0"),
        ({"merge": "sum"}, r"merge must be one of max, mean, none; got 'sum'"),
        ({"merge": "none"}, r"further unit cannot take in; got units = 2, set units=1 or merge='max'"),
        ({"normalization": "softmax"}, r"normalization must be one of clamp, .*; got 'softmax'"),
        ({"normalization": "tanh"}, r"'tanh' is stable for connection='one_way' only; use 'clamp', 'unit' or"),
        ({"normalization": "sigmoid"}, r"'sigmoid' is stable for connection='one_way' only"),
        ({"directions": ["right", "right"]}, r"distinct names out of right, down, left, up"),
        ({"directions": []}, r"one or more distinct names"),
        ({"backend": "gpu"}, r"backend must be one of auto, naive, cpu, cuda; got 'gpu'"),
    ],
)
def test_wrong_choices_are_refused_when_the_layer_is_made(options, message):
    with pytest.raises(ValueError, match=message):
        SpatialPropagation(**{"channels": 4, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": "4"}, r"channels must be an integer; got '4'"),
        ({"channels": True}, r"channels must be an integer; got True"),
        ({"groups": 2.0}, r"groups must be an integer; got 2.0"),
        ({"units": 1.5}, r"units must be an integer; got 1.5"),
        ({"separate_gates": "no"}, r"separate_gates must be True or False; got 'no'"),
    ],
)
def test_choices_of_the_wrong_type_are_refused(options, message):
    with pytest.raises(TypeError, match=message):
        SpatialPropagation(**{"channels": 4, **options})


def test_integers_of_numpy_are_integers():
    assert SpatialPropagation(np.int64(4), groups=np.int32(2), units=np.int64(1)).guidance_channels == 24


def test_wrong_inputs_are_refused():
    layer = SpatialPropagation(4, groups=2, separate_gates=True)
    x, guidance = inputs(layer)
    with pytest.raises(
        ValueError,
        match=r"guidance must be \(N, 48, H, W\): 2 set\(s\) of gates x 4 directions x 3 connections x 2 groups; "
        r"got \(2, 47, 6, 7\)",
    ):
        layer(x, guidance[:, 1:])
    with pytest.raises(ValueError, match=r"guidance must be \(N, 48, H, W\).*got \(48, 6, 7\)"):
        layer(x, guidance[0])
    with pytest.raises(ValueError, match=r"x must be \(N, 4, H, W\); got \(2, 3, 6, 7\)"):
        layer(x[:, 1:], guidance)
    with pytest.raises(ValueError, match=r"must agree in N, H and W.*Resize the guidance to the map"):
        layer(x, guidance[..., 1:])
    with pytest.raises(TypeError, match=r"one dtype; got torch\.float32 and torch\.float64"):
        layer(x, guidance.double())
