"""Known values spread into a dense map: averages along affinities, whatever is known stays."""

import pytest
import torch

from spatialprop.nn import ValueNetwork
from spatialprop.nn.guidance import LightGuidance, ResidualGuidance


def light(stride):
    return lambda channels, **options: LightGuidance(channels, width=8, stages=3, stride=stride, **options)


def network(stride=2, channels=2, **options):
    torch.manual_seed(0)
    return ValueNetwork(light(stride), channels=channels, stride=stride, **options).eval()


def scene(channels=2, height=31, width=44, share=0.1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(2, 3, height, width, generator=generator)
    values = torch.rand(2, channels, height, width, generator=generator)
    confidence = (torch.rand(2, 1, height, width, generator=generator) < share).float()
    return image, values, confidence


VARIANTS = [
    {"stride": stride, "own_gates": own, "proposals": proposals, "connection": connection}
    for stride, own, proposals, connection in [
        (1, False, False, "three_way"),
        (2, False, False, "three_way"),
        (2, True, False, "one_way"),
        (1, True, True, "three_way"),
        (2, False, True, "one_way"),
    ]
]
VARIANTS.append({"stride": 2, "windows": (6, 16)})


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_what_is_known_stays_and_the_rest_lies_between(options):
    image, values, confidence = scene()
    with torch.no_grad():
        result = network(**options)(image, values, confidence)
    known = confidence.expand_as(values) == 1
    assert result.shape == values.shape
    assert torch.equal(result[known], values[known])
    assert result.min() >= 0
    assert result.max() <= 1


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_everything_learns(options):
    image, values, confidence = scene()
    made = network(**options).train()
    made(image, values, confidence).square().mean().backward()
    assert all(parameter.grad is not None for parameter in made.parameters())
    assert made.guidance.head.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("own_gates", [False, True])
def test_a_constant_comes_back_from_any_confidence(stride, own_gates):
    """Weights that sum to one: what all known pixels agree on is the answer everywhere."""
    image, values, confidence = scene()
    constant = torch.full_like(values, 0.3)
    with torch.no_grad():
        result = network(stride, own_gates=own_gates)(image, constant, 0.4 * confidence)
    torch.testing.assert_close(result, constant)


def test_values_count_by_their_confidence_and_not_at_all_without():
    image, values, confidence = scene()
    elsewhere = torch.where(confidence > 0, values, 100.0)
    made = network()
    with torch.no_grad():
        torch.testing.assert_close(made(image, values, confidence), made(image, elsewhere, confidence))


@pytest.mark.parametrize("stride", [1, 2])
def test_affinity_weighs_known_values(stride):
    image, values, confidence = (one[:1] for one in scene(channels=1, share=0.3))
    made = network(stride, channels=1)
    unknown = (confidence[0, 0] == 0).nonzero()
    pixel = tuple(unknown[len(unknown) // 2].tolist())
    row = made.affinity(image, values, confidence, pixel)
    with torch.no_grad():
        result = made(image, values, confidence)[0, 0, pixel[0], pixel[1]]
    assert row[confidence[0, 0] == 0].abs().max() == 0
    assert row.min() >= 0
    torch.testing.assert_close(row.sum(), torch.tensor(1.0))
    torch.testing.assert_close((row * values[0, 0]).sum(), result)


def test_gates_are_shared_or_each_channel_has_its_own():
    shared, own = network(channels=3), network(channels=3, own_gates=True)
    assert own.propagation.guidance_channels == 3 * shared.propagation.guidance_channels
    image, values, confidence = scene(channels=3)
    same = values[:, :1].expand_as(values)
    with torch.no_grad():
        together, apart = shared(image, same, confidence), own(image, same, confidence)
    torch.testing.assert_close(together[:, 0], together[:, 1])
    assert not torch.allclose(apart[:, 0], apart[:, 1])


def test_without_keeping_known_pixels_may_change():
    image, values, confidence = scene()
    with torch.no_grad():
        result = network(keep_known=False)(image, values, confidence)
    known = confidence.expand_as(values) == 1
    assert not torch.allclose(result[known], values[known], atol=1e-3)


@pytest.mark.parametrize("proposals", [False, True])
def test_nothing_known_gives_no_nan(proposals):
    image, values, confidence = scene()
    with torch.no_grad():
        result = network(proposals=proposals)(image, values, 0 * confidence)
    assert result.isfinite().all()
    assert proposals or not result.any()


def test_one_pixel_and_grey_images():
    made = ValueNetwork(ResidualGuidance, channels=1, image_channels=1)
    one = torch.ones(1, 1, 1, 1)
    torch.testing.assert_close(made(one, 0.5 * one, 0.5 * one), 0.5 * one)


def test_averages_keep_their_precision_under_autocast():
    image, values, confidence = scene()
    made = network()
    with torch.no_grad():
        guidance = made.guide(image, values, confidence)
        alone = made.spread(values, confidence, guidance)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(made.spread(values, confidence, guidance), alone)
            assert made(image, values, confidence).dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"normalization": "clamp"}, "propagation.normalization=stochastic and"),
        ({"merge": "max"}, "propagation.merge=mean; got stochastic and max"),
        ({"normalization": "tanh", "connection": "one_way"}, r"\(or sigmoid\)"),
        ({"stride": 4}, "stride must be 1"),
        ({"channels": 0}, "at least 1 channel"),
        ({"bounds": (1.0, 0.0)}, "bounds must be"),
    ],
)
def test_settings_that_give_no_averages_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ValueNetwork(light(2), **{"channels": 1, **options})


def test_a_guidance_of_another_stride_is_refused():
    with pytest.raises(ValueError, match="the guidance has a stride of 2, not 1"):
        ValueNetwork(light(2), channels=1, stride=1)


def test_sizes_that_differ_are_refused():
    image, values, confidence = scene()
    with pytest.raises(ValueError, match=r"values must be \(2, 2, 31, 44\)"):
        network()(image, values[..., :-1], confidence)
    with pytest.raises(ValueError, match=r"confidence must be \(2, 1, 31, 44\)"):
        network()(image, values, values)
