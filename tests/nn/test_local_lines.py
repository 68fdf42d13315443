"""Local linear models of known values."""

import pytest
import torch

from spatialprop.nn.local_lines import local_lines


def picture(channels=3, size=(30, 42)):
    return torch.rand(1, channels, *size, generator=torch.Generator().manual_seed(0))


def known(share, size=(30, 42)):
    return (torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(1)) < share).float()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("window", [8, 30, 500])
def test_what_is_linear_in_colour_is_found_from_a_part(channels, window):
    image, confidence = picture(channels), known(0.5)
    weights = torch.linspace(0.1, 0.3, channels).view(1, -1, 1, 1)
    values = torch.cat([(weights * image).sum(1, keepdim=True), 0.9 - (weights * image).sum(1, keepdim=True)], dim=1)
    found = local_lines(image, values * confidence, confidence, [window], (0.0, 1.0))
    assert found.shape == (1, 3, 30, 42)
    torch.testing.assert_close(found[:, :2], values, atol=0.05, rtol=0)


def test_an_edge_is_where_colours_change():
    image = torch.full((1, 3, 24, 32), 0.2)
    image[..., 16:] = 0.7
    values, confidence = torch.zeros(2, 1, 1, 24, 32)
    confidence[..., :6], confidence[..., 26:], values[..., 26:] = 1, 1, 1
    found = local_lines(image, values, confidence, [64], (0.0, 1.0))[0, 0]
    assert found[:, :15].max() < 0.15
    assert found[:, 17:].min() > 0.85


def test_nothing_known_says_so_and_nothing_unknown_counts():
    image, confidence = picture(), known(0.2)
    values = torch.rand(1, 1, 30, 42)
    nothing = local_lines(image, values, 0 * confidence, [8, 16], (0.0, 1.0))
    assert nothing.isfinite().all()
    assert not nothing[:, 1::2].any()
    changed = torch.where(confidence > 0, values, 9.0)
    given, other = (local_lines(image, one, confidence, [8], (0.0, 1.0)) for one in (values, changed))
    torch.testing.assert_close(given, other)
    assert given[:, :1].min() >= 0
    assert given[:, :1].max() <= 1


def test_one_pixel():
    one = torch.ones(1, 1, 1, 1)
    torch.testing.assert_close(local_lines(one, one / 4, one, [8], (0.0, 1.0))[:, :1], one / 4)
