"""The coarse U-Net: the paper's layers, any size, and logits that cover the whole image."""

import pytest
import torch
from torch.nn import functional as F

from spatialprop.nn.segmenters.unet import UNet


def test_the_papers_network_has_3_138_955_parameters():
    down = [3 * 32, 32 * 64, 64 * 128, 128 * 256, 256 * 512]
    up = [512 * 256, 256 * 128, 128 * 64, 64 * 32, 32 * 11]
    biases = 32 + 64 + 128 + 256 + 512 + 256 + 128 + 64 + 32 + 11
    parameters = sum(parameter.numel() for parameter in UNet(11).parameters())
    assert parameters == 9 * sum(down + up) + biases == 3_138_955


def test_the_papers_bottleneck_is_512_maps_of_4_x_4_for_a_128_patch():
    seen = []
    net = UNet(11)
    net.down[-1].register_forward_hook(lambda module, inputs, output: seen.append(F.max_pool2d(output, 2).shape))
    net(torch.rand(1, 3, 8 * 128, 8 * 128))
    assert seen == [(1, 512, 4, 4)]


@pytest.mark.parametrize("factor", [1, 3, 8])
@pytest.mark.parametrize("size", [(1, 1), (7, 130), (65, 64), (100, 33)])
def test_shapes_at_any_size(factor, size):
    net = UNet(5, factor=factor, width=4, depth=3)
    image = torch.rand(2, 3, *size)
    cells = tuple(-(-side // factor) for side in size)
    assert net(image).shape == (2, 5, *cells)
    assert net.features(image).shape == (2, net.feature_channels, *cells)
    assert net.stride == net.feature_stride == factor


def test_logits_are_the_classifier_on_the_features():
    net, image = UNet(5, factor=2, width=4, depth=2), torch.rand(1, 3, 30, 21)
    torch.testing.assert_close(net.classifier(net.features(image)), net(image))


@pytest.mark.parametrize(("factor", "depth"), [(1, 1), (2, 3), (8, 5)])
def test_every_parameter_gets_a_gradient(factor, depth):
    torch.manual_seed(0)
    net = UNet(3, factor=factor, width=8, depth=depth)
    net(torch.rand(2, 3, 40 * factor, 33 * factor)).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_it_sees_only_the_shrunk_image():
    """Two images with equal means in each cell are the same to it."""
    net = UNet(3, factor=4, width=4, depth=2)
    image = torch.rand(1, 3, 32, 48)
    shuffled = image.reshape(1, 3, 8, 4, 12, 4).flip(3, 5).reshape(1, 3, 32, 48)
    assert not torch.equal(image, shuffled)
    torch.testing.assert_close(net(shuffled), net(image))


@pytest.mark.parametrize("size", [(64, 96), (61, 90)])
def test_cells_cover_the_whole_image_with_half_pixel_centres(size):
    """What each cell sees of a ramp is the ramp at the cell's centre, also where sizes do not divide."""
    height, width = size
    ramp = ((torch.arange(width) + 0.5) / width).expand(1, 3, height, width)
    net = UNet(1, factor=8, width=1, depth=1)
    with torch.no_grad():
        for conv in (*net.down, *net.up):
            conv.weight.zero_()[:, 0, 1, 1] = 1  # nothing but the first channel passes
            conv.bias.fill_(2)  # above zero, where relu changes nothing
    skip = []
    net.down[0].register_forward_hook(lambda module, inputs, output: skip.append(output))
    net(ramp)
    cells = -(-width // 8)
    seen = (skip[0][0, 0, 0, :cells] - 2) * 0.25 + 0.5
    centres = (torch.arange(cells) + 0.5) / cells
    torch.testing.assert_close(seen, centres, atol=0.5 / width, rtol=0)


def test_it_learns_a_boundary():
    torch.manual_seed(0)
    net = UNet(2, factor=2, width=8, depth=2)
    image = torch.rand(4, 3, 32, 32)
    bright = F.avg_pool2d(image, 2)[:, 0] > 0.5
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(net(image), bright.long()).backward()
        optimizer.step()
    assert (net(image).argmax(1) == bright).float().mean() > 0.9


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 1, 8, 8)])
def test_wrong_images_are_refused(shape):
    with pytest.raises(ValueError, match=r"image must be RGB, \(N, 3, H, W\)"):
        UNet(2, width=2, depth=1)(torch.rand(*shape))


@pytest.mark.parametrize("wrong", [{"num_classes": 0}, {"factor": 0}, {"width": 0}, {"depth": 0}])
def test_wrong_settings_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} must be at least 1; got 0"):
        UNet(**{"num_classes": 2, **wrong})
