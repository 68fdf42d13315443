"""A segmenter with affinities and propagation on top, and what they cost."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spatialprop.nn import AffinityPropagation, DilatedAffinityNetwork
from spatialprop.nn.dilated import flops, parameters
from spatialprop.nn.dilated.cost import propagate_flops, spread_flops
from spatialprop.nn.segmenters import UNet
from tests.nn.segmenters.test_every_segmenter import SEGMENTERS

DILATIONS = (1, 2)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def make(segmenter=None, kind="spread", **options):
    return DilatedAffinityNetwork(
        segmenter or UNet(3, factor=4, width=8, depth=2),
        propagation=AffinityPropagation(kind, dilations=DILATIONS, steps=2),
        dilations=DILATIONS,
        **options,
    )


@pytest.mark.parametrize("name", SEGMENTERS)
def test_works_on_any_segmenter(name):
    network = make(SEGMENTERS[name]()).eval()
    image = torch.rand(1, 3, 33, 45)
    coarse, pairs, refined = network(image)
    scores = network.segmenter(image)
    torch.testing.assert_close(coarse, F.interpolate(scores, (33, 45), mode="bilinear").log_softmax(1))
    assert pairs.shape == (1, 8, *scores.shape[-2:])
    assert refined.shape == (1, 3, 33, 45)
    torch.testing.assert_close(refined.exp().sum(1), torch.ones(1, 33, 45))


@pytest.mark.parametrize(("stride", "size"), [(None, (9, 12)), (2, (17, 23)), (8, (5, 6))])
def test_affinities_lie_on_the_grid_asked_for(stride, size):
    prediction = make(stride=stride)(torch.rand(2, 3, 33, 45))
    assert prediction.pairs.shape == (2, 8, *size)
    assert prediction.refined.shape == (2, 3, 33, 45)


def test_without_head_it_is_the_segmenter():
    segmenter = nn.Conv2d(3, 5, 4, stride=4)  # needs no features then
    network = DilatedAffinityNetwork(segmenter, head=False)
    image = torch.rand(1, 3, 16, 16)
    prediction = network(image)
    assert prediction.pairs is None
    assert prediction.refined is None
    expected = F.interpolate(segmenter(image), (16, 16), mode="bilinear").log_softmax(1)
    torch.testing.assert_close(prediction.coarse, expected)
    assert list(parameters(network)) == ["segmenter"]
    assert list(flops(network, image)) == ["segmenter"]


@pytest.mark.parametrize("kind", ["spread", "scan"])
def test_no_step_changes_nothing(kind):
    network = make(kind=kind)
    network.propagation.steps = 0
    coarse, _, refined = network(torch.rand(2, 3, 33, 45))
    torch.testing.assert_close(refined, coarse)


def test_propagation_runs_only_if_wanted():
    network = make()
    network.propagation.forward = None
    assert network(torch.rand(1, 3, 16, 16), propagate=False).refined is None


@pytest.mark.parametrize("kind", ["spread", "scan"])
def test_gradient_of_the_refined_map_reaches_everything(kind):
    network = make(kind=kind)
    network.propagation.power = 1.0
    refined = network(torch.rand(2, 3, 32, 32)).refined
    F.nll_loss(refined, torch.randint(3, (2, 32, 32))).backward()
    without = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()}
    unheard = {f"head.{part}.1.{kind}" for part in ("look", "judge") for kind in ("weight", "bias")}
    assert without == (set() if kind == "spread" else unheard)  # a scan hears the nearest dilation only


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"segmenter": nn.Conv2d(3, 5, 8, stride=8)}, "Conv2d does not hand out its features"),
        ({"head": False}, "nothing propagates without affinities"),
        ({"stride": 0}, "stride must be at least 1"),
        ({"kernel": 5}, "must mean the same neighbours"),
    ],
)
def test_what_does_not_fit_is_refused(options, told):
    with pytest.raises(ValueError, match=told):
        make(**options)


def test_a_stride_between_pixels_is_refused():
    with pytest.raises(TypeError, match=r"stride must be an integer; got 1\.5"):
        make(stride=1.5)


def test_convolutions_are_counted():
    network = make(UNet(3, factor=4, width=8, depth=1))
    counted = flops(network, torch.rand(1, 3, 32, 32))
    cells = 8 * 8
    assert counted["segmenter"] == 2 * cells * 9 * (3 * 8 + 8 * 3)
    assert counted["head"] == 2 * cells * (8 * 16 + 2 * (9 * 16 * 16 + 16 * 4))
    assert counted["propagation"] == spread_flops((1, 3, 8, 8), neighbours=16, steps=2)
    assert parameters(network) == {
        "segmenter": 9 * 3 * 8 + 8 + 9 * 8 * 3 + 3,
        "head": sum(p.numel() for p in network.head.parameters()),
        "propagation": 0,
    }


def test_scans_are_counted():
    counted = flops(make(kind="scan"), torch.rand(1, 3, 32, 32))
    assert counted["propagation"] == 2 * propagate_flops((1, 3, 8, 8), (1, 4, 3, 1, 8, 8))


@pytest.mark.parametrize("kind", ["spread", "scan"])
def test_operations_do_not_depend_on_the_backend(kind):
    network, image = make(kind=kind), torch.rand(1, 3, 32, 32)
    counted = flops(network, image)["propagation"]
    network.propagation.backend = "naive"
    assert flops(network, image)["propagation"] == counted > 0
    network.propagation.steps = 0
    assert flops(network, image)["propagation"] == 0
