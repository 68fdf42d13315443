"""The trusting network: probabilities in and out, for any size and any classes, near the coarse map at first."""

import pytest
import torch
from torch.nn import functional as F

from spatialprop.nn.inference import Guidance, to_cells
from spatialprop.nn.trusting import TrustingNetwork, level
from spatialprop.ops.choosing import SUBPIXELS, most_likely

SMALL = {"widths": (8, 8, 8, 8, 8), "depths": (0, 1, 0, 0, 0)}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return TrustingNetwork(**SMALL).eval()


def some(height, width, classes=3, batch=1):
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(batch, 3, height, width, generator=generator)
    coarse = torch.rand(batch, classes, -(-height // 8), -(-width // 8), generator=generator).mul(4).softmax(dim=1)
    return image, coarse


@pytest.mark.parametrize("size", [(1, 1), (2, 7), (33, 64), (95, 50)])
@pytest.mark.parametrize("classes", [1, 2, 9])
def test_probabilities_for_any_size_and_number_of_classes(network, size, classes):
    refined = network(*some(*size, classes)).exp()
    assert refined.shape == (1, classes, *size)
    torch.testing.assert_close(refined.sum(dim=1), torch.ones(1, *size), atol=1e-3, rtol=0)


def test_starts_near_the_coarse_map(network):
    labels = torch.zeros(1, 64, 64, dtype=torch.int64)
    labels[:, 20:50, 10:40] = 1
    coarse = F.one_hot(labels, 2).permute(0, 3, 1, 2).float()
    assert (network(some(64, 64)[0], coarse).argmax(dim=1) == labels).float().mean() > 0.99


def test_what_a_map_says_sums_up_over_classes(network):
    image, coarse = some(40, 48, 5)
    cells = to_cells(coarse, (40, 48), 2)
    for whole, parts in zip(network.describe(image, [cells]), network.describe(image, cells.split(2, 1)), strict=True):
        torch.testing.assert_close(parts, whole, atol=3e-5, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (7, 10), (16, 12)])
def test_what_is_shown_is_the_same_in_an_archive(network, size, monkeypatch):
    image, coarse = some(*size, batch=2)
    labels = most_likely(coarse, size)
    fine, _ = network.describe(image, [to_cells(coarse, size, 2)])
    shown = network.shown(image, labels, fine)
    assert shown.is_contiguous(memory_format=torch.channels_last)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    assert torch.equal(shown, network.shown(image, labels, fine))


def test_certainty_counts_classes(network):
    shares = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]).view(2, 3, 1, 1).expand(2, 3, 4, 4)
    fine, _ = network.describe(torch.rand(2, 3, 8, 8), [shares])
    torch.testing.assert_close(fine[:, :2, 1, 2], torch.tensor([[1.0, 0.0], [0.5, 0.5]]))


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("size", [(16, 24), (17, 23), (1, 1)])
def test_cells_are_means_of_the_enlarged_map(size, stride):
    coarse = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    enlarged = F.interpolate(coarse, size=size, mode="bilinear")
    torch.testing.assert_close(to_cells(coarse, size, stride), to_cells(enlarged, size, stride))


def test_classes_are_names_only(network):
    image, coarse = some(40, 48, 4)
    order = [2, 0, 3, 1]
    torch.testing.assert_close(network(image, coarse[:, order]), network(image, coarse)[:, order])


def test_a_batch_is_its_images(network):
    image, coarse = some(32, 40, batch=3)
    alone = torch.cat([network(image[i : i + 1], coarse[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(network(image, coarse), alone, atol=1e-5, rtol=1e-4)


def test_a_pixel_without_trust_takes_its_label_from_those_its_gates_lead_to(network):
    coarse = torch.zeros(1, 2, 16, 16)
    coarse[:, 0, :, :4], coarse[:, 1, :, 4:] = 1, 1  # only the first two columns of cells are right
    trust = torch.full((1, 1, 8, 8), 1e-3)
    trust[..., :2] = 1
    gates = torch.zeros(1, 4, 3, 1, 8, 8)
    gates[:] = -9
    gates[:, 0, 1] = 3  # everything depends on its left
    choice = torch.zeros(1, SUBPIXELS, 5, 8, 8)
    for pixel in range(SUBPIXELS):
        choice[:, pixel, 3 - pixel] = 1  # its own cell: the corner that lies opposite
    refined = (
        network.refine(coarse, Guidance((gates,), trust, choice), (16, 16))
        if not network.propagation.separate_gates
        else network.refine(coarse, Guidance((gates, gates), trust, choice), (16, 16))
    )
    assert refined.argmax(dim=1).eq(0).all()


def test_a_cell_of_zeros_hears_its_surroundings(network):
    image, _ = some(32, 32)
    coarse = torch.zeros(1, 2, 32, 32)
    coarse[:, 1] = 1
    coarse[..., 8:20, 8:20] = 0  # nothing is known there
    assert network(image, coarse).argmax(dim=1).eq(1).all()


def test_a_level_does_not_depend_on_the_size_of_what_is_levelled():
    x = torch.rand(1, 6, 3, 4, generator=torch.Generator().manual_seed(0)) + 1
    torch.testing.assert_close(level(1000 * x), level(x), atol=1e-3, rtol=1e-3)
    assert level(torch.zeros_like(x)).eq(0).all()


def test_everything_learns():
    torch.manual_seed(0)
    network = TrustingNetwork(**SMALL)
    image, coarse = some(32, 32)
    network(image, coarse)[:, 0].mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_a_network_looks_after_one_other_at_most():
    with pytest.raises(ValueError, match="a `first` of its own"):
        TrustingNetwork(**SMALL, first=TrustingNetwork(**SMALL, first=TrustingNetwork(**SMALL)))


def test_what_was_not_known_does_not_count_as_changed_on_the_whole():
    network = TrustingNetwork(**SMALL, first=TrustingNetwork(**SMALL)).eval()
    labels = torch.zeros(1, 9, 12, dtype=torch.int64)
    labels[:, :, 6:] = 1
    refined = labels.clone()
    refined[:, :4, :4] = 1
    known = torch.ones(1, 1, 5, 6)
    moved = torch.zeros(1, 1, 5, 6)
    moved[..., :2, :2] = 0.5
    described = (torch.zeros(1, 1, 5, 6), torch.zeros(1, 1, 3, 3))
    assert network.told(described, labels, refined, moved, known)[0][:, -2:].amin() > 0
    known[..., :2, :2] = 0
    assert network.told(described, labels, refined, moved, known)[0][:, -2:].amax() == 0
