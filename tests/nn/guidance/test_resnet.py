"""ResNet guidance: torchvision's key layout, and any input beside RGB."""

import pytest
import torch
from torch import nn

from spatialprop.nn.guidance import ResidualGuidance, ResNetGuidance, VGG16Guidance
from spatialprop.nn.guidance.resnet import ResNetTrunk

TRUNKS = {18: 11_176_512, 50: 23_508_032}  # torchvision's counts, without the classifier


@pytest.mark.parametrize("depth", TRUNKS)
def test_trunk_has_torchvisions_parameters_under_its_names(depth):
    trunk = ResNetTrunk(depth)
    assert sum(parameter.numel() for parameter in trunk.parameters()) == TRUNKS[depth]
    names = trunk.state_dict().keys()
    assert {"conv1.weight", "bn1.running_mean", "layer2.0.downsample.0.weight", "layer4.1.conv2.weight"} <= names
    assert ("layer1.0.downsample.0.weight" in names) == (depth == 50)  # where channels grow, there is a projection
    strided = trunk.layer2[0].conv1 if depth == 18 else trunk.layer2[0].conv2
    assert strided.stride == (2, 2)


def published(depth, path):
    """A file like torchvision's, of a narrow network."""
    torch.manual_seed(depth)
    state = ResNetTrunk(depth, width=4).state_dict()
    state |= {"fc.weight": torch.zeros(10, 4), "fc.bias": torch.zeros(10)}
    torch.save(state, path)
    return state


@pytest.mark.parametrize("depth", TRUNKS)
@pytest.mark.parametrize("channels", [1, 3, 6])
def test_published_weights_load_whatever_the_guidance_is_shown(tmp_path, depth, channels):
    state = published(depth, tmp_path / "resnet.pth")
    network = ResNetGuidance(12, in_channels=channels, depth=depth, width=4, weights=tmp_path / "resnet.pth")
    assert torch.equal(network.trunk.layer3[1].conv1.weight, state["layer3.1.conv1.weight"])
    first = network.trunk.conv1.weight
    if channels == 1:
        assert torch.equal(first, state["conv1.weight"].sum(dim=1, keepdim=True))
    else:
        assert torch.equal(first[:, :3], state["conv1.weight"])
        assert not first[:, 3:].any()
    assert network(torch.rand(1, channels, 40, 50)).shape == (1, 12, 20, 25)


def test_statistics_stay_only_if_they_came_with_weights(tmp_path):
    published(18, tmp_path / "resnet.pth")
    image = torch.rand(2, 3, 64, 64)
    for weights, kept in ((tmp_path / "resnet.pth", True), (None, False)):
        network = ResNetGuidance(4, width=4, weights=weights).train()
        before = network.trunk.bn1.running_mean.clone()
        network(image)
        assert torch.equal(network.trunk.bn1.running_mean, before) == kept


@pytest.mark.parametrize("channels", [1, 4])
def test_vgg_sees_any_input_too(tmp_path, channels):
    torch.manual_seed(0)
    known = VGG16Guidance(4, width=2)
    state = {
        name.replace("trunk.", "features."): value for name, value in known.state_dict().items() if "trunk" in name
    }
    torch.save(state, tmp_path / "vgg.pth")
    network = VGG16Guidance(4, width=2, in_channels=channels, weights=tmp_path / "vgg.pth")
    first, given = network.trunk[0].weight, known.trunk[0].weight
    assert torch.equal(first, given.sum(1, keepdim=True)) if channels == 1 else torch.equal(first[:, :3], given)
    assert network(torch.rand(1, channels, 40, 50)).shape == (1, 4, 20, 25)


def test_a_wrong_depth_or_input_is_refused():
    with pytest.raises(ValueError, match="depth must be one of 18, 50; got 34"):
        ResNetGuidance(4, depth=34)
    with pytest.raises(ValueError, match=r"shown \(N, 3, H, W\)"):
        ResNetGuidance(4, width=4)(torch.rand(1, 4, 32, 32))
    with pytest.raises(ValueError, match="as many, at least 2"):
        ResidualGuidance(4, widths=(8, 8), depths=(1,))


def test_residual_guidance_learns():
    torch.manual_seed(0)
    network = ResidualGuidance(1, widths=(8, 8, 8), depths=(1, 1, 1))
    image = torch.rand(2, 3, 40, 56)
    wanted = nn.functional.avg_pool2d(image.mean(dim=1, keepdim=True), 2) - 0.5
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = (network(image) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
