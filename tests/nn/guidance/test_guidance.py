"""The guidance networks that learn from nothing: the paper's U-Net and the light one."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spatialprop.nn.guidance import LightGuidance, UNetGuidance
from spatialprop.nn.resize import pad_to_multiple

SMALL = {
    "unet": lambda **options: UNetGuidance(12, width=4, **options),
    "light 1": lambda **options: LightGuidance(12, width=8, stride=1, **options),
    "light 2": lambda **options: LightGuidance(12, width=8, stride=2, **options),
    "light 4": lambda **options: LightGuidance(12, width=8, stride=4, **options),
}


@pytest.fixture(params=SMALL)
def make(request):
    """Makes each network in turn, small."""
    torch.manual_seed(0)
    return SMALL[request.param]


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_paper_network_is_as_large_as_the_paper_says():
    with torch.device("meta"):
        network = UNetGuidance(384)
        assert network(torch.rand(1, 3, 128, 128)).shape == (1, 32 * 12, 64, 64)
    down = [(layer.in_channels, layer.out_channels) for layer in network.down]
    up = [(layer.in_channels, layer.out_channels) for layer in network.up]
    assert down == [(3, 32), (32, 64), (64, 128), (128, 256), (256, 512)]
    assert up == [(512, 256), (256, 128), (128, 64), (64, 32)]
    assert f"{parameters(network):,} parameters with 384 channels" in UNetGuidance.__doc__


@torch.no_grad()
def test_paper_network_computes_what_is_written_down():
    torch.manual_seed(0)
    network = UNetGuidance(12, width=4)
    image = torch.rand(1, 3, 64, 96)
    x, pooled = image - 0.5, []
    for layer in network.down:
        x = F.max_pool2d(F.relu(F.conv2d(x, layer.weight, layer.bias, padding=1)), 2)
        pooled.append(x)
    assert x.shape == (1, 16 * 4, 2, 3)
    for layer, skip in zip(network.up, pooled[-2::-1], strict=True):
        x = F.relu(F.conv2d(x, layer.weight, layer.bias, padding=1))
        x = F.interpolate(x, skip.shape[2:], mode="bilinear") + skip
    expected = F.conv2d(x, network.head.weight, network.head.bias, padding=1)
    torch.testing.assert_close(network(image), expected)


def test_light_network_is_as_small_as_it_says():
    with torch.device("meta"):
        sizes = [parameters(LightGuidance(12, stride=stride)) for stride in (1, 2, 4)]
    assert sizes == [146_444, 145_516, 144_236]
    assert f"{sizes[1]:,} parameters with 12 channels, at stride 2" in LightGuidance.__doc__


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (33, 17), (64, 32), (75, 100)])
def test_whole_images_of_any_size_go_through(make, size):
    network = make().eval()
    image = torch.rand(2, 3, *size)
    guidance = network(image)
    assert guidance.shape == (2, 12, -(-size[0] // network.stride), -(-size[1] // network.stride))
    padded = network(pad_to_multiple(image, 32))
    assert torch.equal(guidance, padded[..., : guidance.shape[2], : guidance.shape[3]])


def test_more_than_an_image_goes_in(make):
    network = make(in_channels=8)
    assert network(torch.rand(2, 8, 32, 32)).shape == (2, 12, 32 // network.stride, 32 // network.stride)


def test_gradient_reaches_every_parameter(make):
    network = make()
    network(torch.rand(4, 3, 64, 64)).square().sum().backward()
    unreached = [name for name, parameter in network.named_parameters() if not parameter.grad.any()]
    assert not unreached


def test_gates_are_small_at_first(make):
    guidance = make()(torch.rand(2, 3, 64, 64))
    assert 0 < guidance.abs().mean() < 0.1


@torch.no_grad()
def test_image_moved_by_the_padding_multiple_moves_guidance_by_as_many_cells(make):
    network = make().eval().double()
    image = torch.rand(1, 3, 416, 416, dtype=torch.float64)
    moved = torch.roll(image, (32, -32), dims=(2, 3))
    cells = 32 // network.stride
    here = torch.roll(network(image), (cells, -cells), dims=(2, 3))
    edge = 192 // network.stride  # what sees beyond the image, or across the seam
    inner = (..., slice(edge, -edge), slice(edge, -edge))
    assert here[inner].numel() > 0
    assert here[inner].std() > 0
    torch.testing.assert_close(network(moved)[inner], here[inner], rtol=0, atol=1e-12)


def test_padding_repeats_the_last_row_and_column():
    image = torch.arange(6.0).reshape(1, 1, 2, 3)
    padded = pad_to_multiple(image, 4)
    assert padded[0, 0].tolist() == [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]]
    assert pad_to_multiple(padded, 4) is padded


def test_padding_keeps_gradients():
    image = torch.zeros(1, 1, 1, 1, requires_grad=True)
    pad_to_multiple(image, 8).sum().backward()
    assert image.grad.item() == 64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 3}, "stride must be 1, 2 or 4; got 3"),
        ({"stages": 2}, "stages must be at least 3; got 2"),
        ({"width": 4}, "width must be a multiple of 8; got 4"),
        ({"width": 0}, "width must be a multiple of 8; got 0"),
    ],
)
def test_impossible_light_networks_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        LightGuidance(12, **options)


def test_light_network_forgets_its_batch_in_evaluation():
    torch.manual_seed(0)
    network = LightGuidance(12, width=8).eval()
    image = torch.rand(3, 3, 64, 64)
    torch.testing.assert_close(network(image)[1:2], network(image[1:2]))
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
