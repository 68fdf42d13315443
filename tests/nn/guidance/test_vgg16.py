"""The guidance network on VGG-16: its size, its skip links, its weights and its learning rates."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spatialprop.nn.guidance.vgg16 import VGG16Guidance
from spatialprop.nn.segmenters.pixels import IMAGENET_MEAN, IMAGENET_STD
from spatialprop.nn.segmenters.vgg import torchvision_key_map


@pytest.fixture
def network():
    torch.manual_seed(0)
    return VGG16Guidance(12, width=1)


def test_paper_sized_network():
    with torch.device("meta"):
        network = VGG16Guidance(384)
        assert network(torch.rand(1, 3, 128, 128)).shape == (1, 384, 64, 64)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert f"{parameters:,} parameters with 384 channels" in VGG16Guidance.__doc__
    assert [(layer.in_channels, layer.out_channels) for layer in network.up] == [
        (512, 512),
        (512, 256),
        (256, 128),
        (128, 64),
    ]


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (33, 17), (64, 32), (75, 100)])
def test_any_size_gives_guidance_at_half_of_it(network, size):
    assert network.stride == 2
    image = torch.rand(2, 3, *size)
    assert network(image).shape == (2, 12, -(-size[0] // 2), -(-size[1] // 2))
    assert network.double()(image.double()).dtype == torch.float64


def test_wrong_input_is_named(network):
    with pytest.raises(ValueError, match=r"shown \(N, 3, H, W\).*got \(1, 4, 16, 16\)"):
        network(torch.rand(1, 4, 16, 16))
    with pytest.raises(TypeError, match=r"floating point.*got torch\.uint8"):
        network(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))


@torch.no_grad()
def test_computes_what_is_written_down(network):
    image = torch.rand(1, 3, 64, 96)
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    x = (image - mean) / std
    pools = []
    for places in ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)):
        for place in places:
            x = F.relu(F.conv2d(x, network.trunk[place].weight, network.trunk[place].bias, padding=1))
        x = F.max_pool2d(x, 2)
        pools.append(x)
    for layer, skip in zip(network.up, (pools[3], pools[2], pools[1], pools[0]), strict=True):
        x = F.relu(F.conv2d(x, layer.weight, layer.bias, padding=1))
        x = F.interpolate(x, skip.shape[2:], mode="bilinear") + skip
    expected = F.conv2d(x, network.head.weight, network.head.bias, padding=1)
    torch.testing.assert_close(network(image), expected)


def test_gradient_reaches_every_parameter(network):
    for parameter in network.parameters():
        parameter.data = parameter.data.abs() + 1e-3
    network(torch.rand(1, 3, 64, 64) / 2 + 0.5).sum().backward()
    assert all(parameter.grad.any() for parameter in network.parameters())


def test_imagenet_weights_fill_the_way_down_and_own_weights_everything(network, tmp_path):
    state = {
        name: torch.randn(network.state_dict()[target].shape) if target else torch.zeros(1)
        for name, target in torchvision_key_map().items()
    }
    torch.save(state, tmp_path / "vgg16.pth")
    loaded = VGG16Guidance(12, width=1, weights=tmp_path / "vgg16.pth")
    for place, layer in enumerate(loaded.trunk):
        if isinstance(layer, nn.Conv2d):
            assert torch.equal(layer.weight, state[f"features.{place}.weight"])
    torch.save(loaded.state_dict(), tmp_path / "own.pth")
    again = VGG16Guidance(12, width=1, weights=tmp_path / "own.pth")
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), again.parameters(), strict=True))


def test_what_came_with_weights_is_told_apart(network):
    pretrained = list(network.pretrained_parameters())
    assert {id(parameter) for parameter in pretrained} == {id(parameter) for parameter in network.trunk.parameters()}
    assert len(pretrained) == 26  # weights and biases of 13 convolutions
