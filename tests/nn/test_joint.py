"""A segmenter with the propagation on top, as one network."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spatialprop.nn import JointNetwork, RefinementNetwork
from spatialprop.nn.guidance import LightGuidance


class Segmenter(nn.Module):
    """A trunk at a quarter of the resolution, whose features only the propagation reads."""

    feature_channels = 6

    def __init__(self, classes=3):
        super().__init__()
        self.trunk = nn.Conv2d(3, self.feature_channels, 4, stride=4)
        self.scores = nn.Conv2d(3, classes, 8, stride=8)

    def forward(self, image):
        return self.scores(image)

    def forward_with_features(self, image):
        return self(image), self.trunk(image).relu()


def light(channels):
    return LightGuidance(channels, width=8)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(params=[None, light], ids=["trunk", "own guidance"])
def network(request):
    return JointNetwork(Segmenter(), request.param)


@pytest.mark.parametrize("size", [(32, 32), (43, 58)])
def test_gives_coarse_and_refined_distributions_of_the_image_size(network, size):
    image = torch.rand(2, 3, *size)
    coarse, refined = network(image)
    expected = F.interpolate(network.segmenter(image), size, mode="bilinear").softmax(dim=1)
    torch.testing.assert_close(coarse.exp(), expected)
    assert refined.shape == coarse.shape
    torch.testing.assert_close(refined.exp().sum(dim=1), torch.ones(2, *size))


def test_refined_is_what_the_refinement_makes_of_coarse():
    network = JointNetwork(Segmenter(), light, num_classes=3, hidden=4).eval()
    image = torch.rand(1, 3, 32, 40)
    coarse, refined = network(image)
    assert isinstance(network.refinement, RefinementNetwork)
    torch.testing.assert_close(network.refinement(image, coarse.exp()), refined)


def test_shared_trunk_gives_gates_at_half_the_resolution(monkeypatch):
    network = JointNetwork(Segmenter())
    layer, seen = network.refinement.propagation, []
    propagate = layer.propagate
    monkeypatch.setattr(layer, "propagate", lambda *given: seen.append(given) or propagate(*given))
    network(torch.rand(1, 3, 32, 40))
    ((x, (gates,)),) = seen
    assert x.shape == (1, 3, 16, 20)
    assert gates.shape == (1, 4, 3, 1, 16, 20)


def test_gradient_of_the_refined_map_reaches_everything(network):
    _, refined = network(torch.rand(2, 3, 32, 32))
    F.nll_loss(refined, torch.randint(3, (2, 32, 32))).backward()
    without = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()}
    # Guidance of its own reads the image, so that nobody reads the stand-in's trunk.
    assert without == (set() if network.shares_trunk else {"segmenter.trunk.weight", "segmenter.trunk.bias"})


def test_trunk_is_held_once():
    names = [name for name, _ in JointNetwork(Segmenter()).named_parameters(remove_duplicate=False)]
    assert sorted(names) == [
        *(
            f"refinement.guidance.{layer}.{part}"
            for layer in ("fused.0", "fused.1", "head", "known.0", "known.1", "seen.0", "seen.1")
            for part in ("bias", "weight")
        ),
        *(f"segmenter.scores.{part}" for part in ("bias", "weight")),
        *(f"segmenter.trunk.{part}" for part in ("bias", "weight")),
    ]


@torch.no_grad()
def test_starts_near_the_coarse_map(network):
    coarse, refined = network.eval()(torch.rand(2, 3, 64, 64))
    assert (refined.exp() - coarse.exp()).abs().max() < 0.1


@torch.no_grad()
def test_starts_near_the_coarse_map_however_large_the_features_are():
    network = JointNetwork(Segmenter()).eval()
    network.segmenter.trunk.weight *= 1000
    coarse, refined = network(torch.rand(2, 3, 64, 64))
    assert (refined.exp() - coarse.exp()).abs().max() < 0.1


def test_segmenter_without_features_is_named():
    with pytest.raises(ValueError, match=r"Conv2d does not hand out its features.*share_trunk=false"):
        JointNetwork(nn.Conv2d(3, 5, 8, stride=8))


def test_hints_are_for_a_guidance_network_of_its_own():
    def shown(channels, in_channels):
        return LightGuidance(channels, in_channels=in_channels, width=8)

    network = JointNetwork(Segmenter(), shown, hints=["confidence"])
    assert network.refinement.guidance.stem[0].in_channels == 4
    assert network(torch.rand(1, 3, 32, 40))[1].shape == (1, 3, 32, 40)
    with pytest.raises(ValueError, match=r"with a shared trunk: set task\.share_trunk=false"):
        JointNetwork(Segmenter(), hints=["confidence"])


def test_affinity_is_the_gradient_through_the_refinement(network):
    network.eval()
    nn.init.normal_(network.refinement.guidance.head.weight)
    image, pixel = torch.rand(1, 3, 32, 40), (13, 22)
    heard = network.affinity(image, pixel)
    assert heard.shape == (32, 40)
    assert (heard.abs() > 1e-4).sum() > 50, "a pixel listens to more than itself"
    with torch.no_grad():
        coarse, _, gates = network._coarse_and_gates(image)
    shares = coarse.exp()
    winner = int(network.refinement._scores(shares, gates)[0, :, 13, 22].argmax())
    pushed = shares.clone()
    pushed[0, winner, 12, 20] += 1e-3
    with torch.no_grad():
        before, after = (network.refinement._scores(x, gates)[0, winner, 13, 22] for x in (shares, pushed))
    torch.testing.assert_close((after - before) / 1e-3, heard[12, 20], atol=2e-3, rtol=2e-2)
