"""The refinement network: what it computes, what it starts as, and what a pixel listens to."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spatialprop.nn import RefinementNetwork
from spatialprop.nn.guidance import LightGuidance, UNetGuidance
from spatialprop.nn.resize import resize


def light(channels, stride=2):
    return LightGuidance(channels, width=8, stride=stride)


def smooth_coarse(classes, height, width, batch=1):
    """Probabilities as a segmenter at an eighth of the resolution gives them."""
    scores = 8 * torch.randn(batch, classes, -(-height // 8), -(-width // 8))
    return F.interpolate(scores.softmax(dim=1), (height, width), mode="bilinear")


def far_from_identity(network, std=0.3):
    """The network after some training, as it were: its gates are large."""
    nn.init.normal_(network.guidance.head.weight, std=std)
    return network.eval()


def written_out(network, image, coarse):
    """What the network makes of the coarse map, step by step."""
    guidance = network.guidance(image)
    x = coarse
    if network.before is not None:
        x = F.conv2d(x, network.before.weight, network.before.bias, padding=1)
    if network.before is not None:
        x = F.interpolate(x, guidance.shape[2:], mode="bilinear", antialias=True)
    else:  # means over cells, of which the last may reach over the edge
        cell = network.guidance.stride
        x = F.avg_pool2d(F.pad(x, (0, -x.shape[3] % cell, 0, -x.shape[2] % cell), mode="replicate"), cell)
    x = network.propagation(x, guidance)
    if network.after is not None:
        x = F.conv2d(x, network.after.weight, network.after.bias, padding=1)
    return F.interpolate(x, coarse.shape[2:], mode="bilinear")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_paper_network_propagates_32_maps_at_half_the_resolution(monkeypatch):
    network = RefinementNetwork(UNetGuidance, num_classes=21, hidden=32)
    layer, seen, propagated = network.propagation, {}, []
    propagate = layer.propagate
    monkeypatch.setattr(layer, "propagate", lambda x, gates: propagated.append(x.shape) or propagate(x, gates))
    for name in ("before", "guidance", "after"):
        network.get_submodule(name).register_forward_hook(
            lambda _, inputs, output, name=name: seen.__setitem__(name, (inputs[0].shape, output.shape))
        )
    with torch.no_grad():
        assert network(torch.rand(1, 3, 128, 128), smooth_coarse(21, 128, 128)).shape == (1, 21, 128, 128)
    assert seen == {
        "guidance": ((1, 3, 128, 128), (1, 384, 64, 64)),
        "before": ((1, 21, 128, 128), (1, 32, 128, 128)),
        "after": ((1, 32, 64, 64), (1, 21, 64, 64)),
    }
    assert propagated == [(1, 32, 64, 64)]
    assert layer.units == 2


@torch.no_grad()
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 18), (30, 40)])
@pytest.mark.parametrize("hidden", [None, 6])
def test_computes_what_is_written_down(hidden, size):
    network = far_from_identity(RefinementNetwork(light, num_classes=4, hidden=hidden))
    image, coarse = torch.rand(2, 3, *size), smooth_coarse(4, *size, batch=2)
    scores = written_out(network, image, coarse)
    if hidden:
        expected = scores.softmax(dim=1)
    else:
        expected = scores.clamp_min(1e-5) / scores.clamp_min(1e-5).sum(dim=1, keepdim=True)
    torch.testing.assert_close(network(image, coarse).exp(), expected)


def test_groups_of_hidden_maps_share_their_gates():
    network = RefinementNetwork(light, num_classes=4, hidden=6, groups=2)
    assert network.guidance.head.out_channels == 4 * 3 * 2
    coarse = smooth_coarse(4, 32, 40)
    network = far_from_identity(network)
    alone = far_from_identity(RefinementNetwork(light, num_classes=4, hidden=6))
    alone.load_state_dict({k: v for k, v in network.state_dict().items() if "head" not in k}, strict=False)
    with torch.no_grad():  # gates of its own for each map, three times those of its group
        for own, shared in zip(alone.guidance.head.parameters(), network.guidance.head.parameters(), strict=True):
            own.copy_(shared.unflatten(0, (12, 2)).repeat_interleave(3, dim=1).flatten(0, 1))
        image = torch.rand(1, 3, 32, 40)
        torch.testing.assert_close(network(image, coarse), alone(image, coarse))


def test_groups_need_hidden_maps():
    with pytest.raises(ValueError, match="got groups=2 without any: give hidden too"):
        RefinementNetwork(light, groups=2)


@torch.no_grad()
@pytest.mark.parametrize("merge", ["max", "mean"])
@pytest.mark.parametrize("hidden", [None, 6])
def test_result_is_a_distribution_whatever_goes_in(hidden, merge):
    network = far_from_identity(RefinementNetwork(light, num_classes=4, hidden=hidden, merge=merge), std=3)
    certain = F.one_hot(torch.randint(4, (2, 40, 36)), 4).permute(0, 3, 1, 2).float()
    result = network(torch.rand(2, 3, 40, 36), certain)
    assert result.isfinite().all()
    torch.testing.assert_close(result.exp().sum(dim=1), torch.ones(2, 40, 36))


@torch.no_grad()
@pytest.mark.parametrize("hidden", [None, 6])
def test_autocast_leaves_the_result_its_precision(hidden):
    network = far_from_identity(RefinementNetwork(light, num_classes=4, hidden=hidden))
    image, coarse = torch.rand(1, 3, 40, 36), smooth_coarse(4, 40, 36)
    with torch.autocast("cpu", torch.bfloat16):
        refined = network(image, coarse)
    assert refined.dtype == torch.float32
    torch.testing.assert_close(refined.exp().sum(dim=1), torch.ones(1, 40, 36))
    assert (refined.exp() - network(image, coarse).exp()).abs().mean() < 0.02


@torch.no_grad()
def test_same_weights_refine_any_number_of_classes():
    network = far_from_identity(RefinementNetwork(light))
    assert not [name for name, _ in network.named_parameters() if not name.startswith("guidance.")]
    assert network.guidance.head.out_channels == 4 * 3
    for classes in (2, 59):
        image, coarse = torch.rand(1, 3, 40, 36), smooth_coarse(classes, 40, 36)
        refined = network(image, coarse)
        assert refined.shape == coarse.shape
        assert not torch.allclose(refined.exp(), coarse, atol=0.05)
        order = torch.randperm(classes)
        torch.testing.assert_close(network(image, coarse[:, order]), refined[:, order])


@torch.no_grad()
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_probabilities_start_as_they_are(stride):
    network = RefinementNetwork(lambda channels: light(channels, stride)).eval()
    coarse = smooth_coarse(5, 64, 80)
    shrunk = F.avg_pool2d(coarse, stride)
    as_they_are = F.interpolate(shrunk, (64, 80), mode="bilinear")  # at the guidance's resolution
    refined = network(torch.rand(1, 3, 64, 80), coarse).exp()
    torch.testing.assert_close(refined, as_they_are, rtol=0, atol=0.03)


@torch.no_grad()
@pytest.mark.parametrize("classes", [2, 21, 32])
def test_hidden_maps_start_near_the_coarse_labels(classes):
    network = RefinementNetwork(UNetGuidance, num_classes=classes, hidden=32).eval()
    coarse = smooth_coarse(classes, 64, 96)
    refined = network(torch.rand(1, 3, 64, 96), coarse)
    certain = coarse.amax(dim=1) > 0.6
    agree = refined.argmax(dim=1) == coarse.argmax(dim=1)
    assert certain.float().mean() > 0.2
    assert agree[certain].float().mean() > 0.95
    assert agree.float().mean() > 0.8


def test_gradient_reaches_every_parameter():
    network = far_from_identity(RefinementNetwork(light, num_classes=4, hidden=6)).train()
    refined = network(torch.rand(2, 3, 32, 32), smooth_coarse(4, 32, 32, batch=2))
    F.nll_loss(refined, torch.randint(4, (2, 32, 32))).backward()
    assert not [name for name, parameter in network.named_parameters() if not parameter.grad.any()]


def test_options_reach_the_propagation():
    options = {"units": 3, "separate_gates": True, "merge": "mean", "directions": ["left", "up"]}
    network = RefinementNetwork(light, connection="one_way", normalization="tanh", **options)
    layer = network.propagation
    assert (layer.units, layer.separate_gates, layer.merge, layer.directions) == (3, True, "mean", ("left", "up"))
    assert (layer.connection, layer.normalization) == ("one_way", "tanh")
    assert network.guidance.head.out_channels == layer.guidance_channels == 3 * 2


@pytest.mark.parametrize(("hidden", "pixel"), [(None, (3, 5)), (5, (8, 6))])
def test_affinity_is_a_row_of_the_jacobian(hidden, pixel):
    network = far_from_identity(RefinementNetwork(light, num_classes=3, hidden=hidden)).double()
    row, column = pixel
    image = torch.rand(1, 3, 9, 7, dtype=torch.float64)
    coarse = torch.rand(1, 3, 9, 7, dtype=torch.float64).softmax(dim=1)
    with torch.no_grad():
        winner = int(written_out(network, image, coarse)[0, :, row, column].argmax())
        expected = torch.empty(9, 7, dtype=torch.float64)
        for i in range(9):
            for j in range(7):
                step = torch.zeros_like(coarse)
                step[0, winner, i, j] = 1e-6
                up, down = (written_out(network, image, moved) for moved in (coarse + step, coarse - step))
                expected[i, j] = (up - down)[0, winner, row, column] / 2e-6
    affinity = network.affinity(image, coarse, pixel)
    assert affinity.count_nonzero() > 5  # a pixel hears more than its own cell of the guidance
    torch.testing.assert_close(affinity, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_affinity_shares_out_one_and_explains_the_result(stride):
    network = far_from_identity(RefinementNetwork(lambda channels: light(channels, stride)))
    image, coarse = torch.rand(1, 3, 40, 36), smooth_coarse(5, 40, 36)
    with torch.no_grad():
        result = written_out(network, image, coarse)[0, :, 17, 9]
    affinity = network.affinity(image, coarse, (17, 9))
    assert affinity.shape == (40, 36)
    torch.testing.assert_close(affinity.sum(), torch.tensor(1.0))
    torch.testing.assert_close((affinity * coarse[0, result.argmax()]).sum(), result.max())


def test_affinity_of_an_untrained_network_is_the_pixel_itself():
    network = RefinementNetwork(lambda channels: light(channels, 1)).eval()
    nn.init.zeros_(network.guidance.head.weight)
    affinity = network.affinity(torch.rand(1, 3, 12, 10), smooth_coarse(3, 12, 10), (4, 7))
    expected = torch.zeros(12, 10)
    expected[4, 7] = 1
    assert torch.equal(affinity, expected)


def test_affinity_needs_no_gradients_and_leaves_none():
    network = far_from_identity(RefinementNetwork(light, num_classes=3, hidden=5))
    image, coarse = torch.rand(1, 3, 16, 16), smooth_coarse(3, 16, 16)
    with torch.no_grad():
        affinity = network.affinity(image, coarse, (3, 4))
    assert torch.equal(affinity, network.affinity(image, coarse, (3, 4)))
    assert not affinity.requires_grad
    assert not coarse.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("pixel", [(-1, 0), (0, -1), (16, 0), (0, 12)])
def test_affinity_of_a_pixel_outside_is_refused(pixel):
    network = RefinementNetwork(light)
    with pytest.raises(ValueError, match="pixel must lie in a batch of one image"):
        network.affinity(torch.rand(1, 3, 16, 12), torch.rand(1, 2, 16, 12), pixel)


def test_affinity_is_that_of_one_image():
    with pytest.raises(ValueError, match=r"a batch of one image.*\(2, 2, 16, 12\)"):
        RefinementNetwork(light).affinity(torch.rand(2, 3, 16, 12), torch.rand(2, 2, 16, 12), (0, 0))


def test_sizes_that_differ_are_named():
    network = RefinementNetwork(light)
    image, coarse = torch.rand(1, 3, 16, 16), torch.rand(1, 2, 2, 2)
    for call in (lambda: network(image, coarse), lambda: network.affinity(image, coarse, (0, 0))):
        with pytest.raises(ValueError, match=r"one size; got \(1, 3, 16, 16\) and \(1, 2, 2, 2\): enlarge"):
            call()


def test_impossible_networks_are_named():
    with pytest.raises(ValueError, match="give num_classes too"):
        RefinementNetwork(light, hidden=4)
    with pytest.raises(ValueError, match="use 'max' or 'mean'"):
        RefinementNetwork(light, merge="none", units=1)


def test_another_number_of_classes_is_named():
    network = RefinementNetwork(light, num_classes=3, hidden=4).eval()
    with pytest.raises(ValueError, match=r"made for 3, the coarse map has 5; give num_classes=5"):
        network(torch.rand(1, 3, 16, 16), torch.rand(1, 5, 16, 16))


def test_resize_keeps_what_has_the_size():
    maps = torch.rand(1, 2, 5, 6)
    assert resize(maps, (5, 6)) is maps


@pytest.mark.parametrize("size", [(3, 12), (12, 3), (3, 3), (48, 48), (3, 48)])
def test_resize_averages_what_it_shrinks_and_keeps_constants(size):
    stripes = torch.tensor([0.0, 1.0]).repeat(6).expand(1, 1, 12, 12)
    for maps in (stripes, stripes.transpose(2, 3)):
        result = resize(maps, size)
        assert result.shape[2:] == size
        along = result[0, 0, 0] if maps is stripes else result[0, 0, :, 0]
        if along.numel() < 12:
            assert (along - 0.5).abs().max() < 0.1
        torch.testing.assert_close(resize(torch.full((1, 1, 12, 12), 0.3), size), torch.full((1, 1, *size), 0.3))


def test_resize_enlarges_between_half_pixel_centres():
    result = resize(torch.tensor([[[[0.0, 1.0]]]]), (1, 4))
    assert result.flatten().tolist() == [0, 0.25, 0.75, 1]


# Hints


def test_hints_are_shown_to_the_guidance():
    network = far_from_identity(
        RefinementNetwork(lambda channels, **shown: LightGuidance(channels, width=8, **shown), hints=["entropy"])
    )
    assert network.guidance.stem[0].in_channels == 4
    seen = []
    network.guidance.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    image, coarse = torch.rand(2, 3, 33, 26), smooth_coarse(5, 33, 26, batch=2)
    with torch.no_grad():
        network(image, coarse)
    (shown,) = seen
    assert torch.equal(shown[:, :3], image)
    x = F.avg_pool2d(F.pad(coarse, (0, 0, 0, 1), mode="replicate"), 2)
    entropy = 1 - torch.exp((x * x.log()).sum(dim=1, keepdim=True))
    torch.testing.assert_close(shown[:, 3:], F.interpolate(entropy, scale_factor=2, mode="bilinear")[..., :33, :])


def test_no_gradient_passes_through_hints():
    network = far_from_identity(
        RefinementNetwork(lambda channels, **shown: LightGuidance(channels, width=8, **shown), hints=["confidence"])
    )
    coarse = smooth_coarse(3, 16, 16).requires_grad_()
    (gates,) = network.gates(torch.rand(1, 3, 16, 16), coarse)
    (gradient,) = torch.autograd.grad(gates.sum(), coarse, allow_unused=True)
    assert gradient is None


@pytest.mark.parametrize("hints", ["entropy", ["labels"], ["entropy", "entropy"]])
def test_unknown_hints_are_named(hints):
    with pytest.raises(ValueError, match="distinct names out of confidence, entropy"):
        RefinementNetwork(light, hints=hints)
