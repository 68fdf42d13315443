"""The networks against the published ones: every name and shape, and what comes out under the same weights."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from spatialprop.nn.guidance.vgg16 import VGG16Guidance
from spatialprop.nn.published import load_state, load_weights
from spatialprop.nn.segmenters import Context, DeepLabResNet101, DeepLabVGG, FCN8s, FrontEnd, deeplab, fcn8s, frontend
from spatialprop.nn.segmenters.cells import read_at_cells
from spatialprop.nn.segmenters.pixels import IMAGENET_MEAN, IMAGENET_STD
from spatialprop.nn.segmenters.vgg import torchvision_key_map
from tests.nn.published.caffemodels import caffemodel, layers_of
from tests.nn.segmenters import published_networks as published

WHOLE = [
    (FCN8s, "fcn8s", fcn8s.PUBLISHED, 21 * 21 * 16 * 16),
    (DeepLabVGG, "deeplab_vgg", deeplab.VGG_PUBLISHED, 0),
    (DeepLabResNet101, "deeplab_resnet101", deeplab.RESNET_PUBLISHED, 0),
    (DeepLabResNet101, "deeplab_resnet101_caffe", deeplab.RESNET_CAFFE, 0),
    (FrontEnd, "front_end", frontend.FRONT_END_PUBLISHED, 0),
    (Context, "context", frontend.CONTEXT_PUBLISHED, 0),
]
IMAGENET = [
    (lambda: FCN8s(21), "vgg16_torchvision", fcn8s.IMAGENET, {"score_fr", "score_pool3", "score_pool4", "upscore2"}),
    (lambda: DeepLabVGG(21), "vgg16_torchvision", deeplab.VGG_IMAGENET, {"fc6", "fc7", "fc8"}),
    (lambda: DeepLabResNet101(21), "resnet101_torchvision", deeplab.RESNET_IMAGENET, {"aspp"}),
    (lambda: FrontEnd(21), "vgg16_torchvision", frontend.FRONT_END_IMAGENET, {"final"}),
    (lambda: Context(21), "vgg16_torchvision", frontend.CONTEXT_IMAGENET, {"front_end", "context"}),
    (lambda: Context(21), "front_end", frontend.CONTEXT_FRONT_END, {"context"}),
    (lambda: VGG16Guidance(384), "vgg16_torchvision", torchvision_key_map(), {"up", "head"}),
]


def on_meta(name):
    return {key: torch.empty(shape, device="meta") for key, shape in published.table(name).items()}


@pytest.mark.parametrize(("network", "name", "key_map", "left_out"), WHOLE, ids=[row[1] for row in WHOLE])
def test_published_state_fills_the_whole_network(network, name, key_map, left_out):
    with torch.device("meta"):
        module = network(21)
    state = on_meta(name)
    load_state(module, state, key_map)  # says what is missing, left over or of another shape
    targets = [target for target in key_map.values() if target is not None]
    # Caffe has no counter of batches.
    counters = {key for key in module.state_dict() if key.endswith("num_batches_tracked")} - set(targets)
    assert sorted([*targets, *counters]) == sorted(module.state_dict())
    statistics = sum(tensor.numel() for key, tensor in state.items() if "running" in key or "num_batches" in key)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    assert parameters == sum(tensor.numel() for tensor in state.values()) - statistics - left_out


def test_front_end_is_taken_out_of_the_file_of_both():
    with torch.device("meta"):
        module = FrontEnd(21)
    load_state(module, on_meta("context"), frontend.FRONT_END_OF_CONTEXT)
    assert set(module.state_dict()) <= set(frontend.FRONT_END_OF_CONTEXT.values())


def test_both_names_of_the_published_resnet_lead_to_the_same_places():
    """Layer by layer, as the converter of kazuto1011/deeplab-pytorch translates them."""
    for theirs, converted in {
        "conv1.weight": "base.layer1.conv1.conv.weight",
        "bn_conv1.running_var": "base.layer1.conv1.bn.running_var",
        "scale_conv1.bias": "base.layer1.conv1.bn.bias",
        "res2c_branch2b.weight": "base.layer2.block3.conv3x3.conv.weight",
        "res3a_branch1.weight": "base.layer3.block1.shortcut.conv.weight",
        "bn3b3_branch2a.running_mean": "base.layer3.block4.reduce.bn.running_mean",
        "scale4b22_branch2c.weight": "base.layer4.block23.increase.bn.weight",
        "res5b_branch2a.weight": "base.layer5.block2.reduce.conv.weight",
        "fc1_voc12_c3.bias": "base.aspp.c3.bias",
    }.items():
        assert deeplab.RESNET_CAFFE[theirs] == deeplab.RESNET_PUBLISHED[converted]


@pytest.mark.parametrize(("build", "name", "key_map", "fresh"), IMAGENET)
def test_imagenet_weights_fill_the_trunk(build, name, key_map, fresh):
    with torch.device("meta"):
        module = build()
    load_state(module, on_meta(name), key_map)
    untouched = {key for key in module.state_dict() if key not in set(key_map.values())}
    assert untouched
    assert {key.split(".")[0] for key in untouched} <= fresh | {"upscore_pool4"}


def loaded(module, key_map):
    state = published.random_state(module, key_map)
    load_state(module, state, key_map)
    return module.eval(), state


def image(height, width):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_fcn8s_computes_what_was_published():
    module, state = loaded(FCN8s(5, width=1), fcn8s.PUBLISHED)
    picture = image(448, 448)
    shift = 29  # brings the published cells, which lie 3 pixels off, onto ours
    expected = published.fcn8s(state, F.pad(module.colours(picture), (shift, 0, shift, 0)))[..., 7:, 7:]
    # Far from the borders, which the two see through paddings that are not the same.
    inner = slice(20, 36)
    torch.testing.assert_close(module(picture)[..., inner, inner], expected[..., inner, inner], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("factors", [True, False])
@torch.no_grad()
def test_fcn8s_at_once_scores_shrunken_layers(tmp_path, factors):
    """Its weights do what those of voc-fcn8s do that are so much smaller, whether or not the file has the factors."""
    module, state = loaded(FCN8s(5, width=1), fcn8s.PUBLISHED)
    for layer, factor in (("score_pool4", 0.01), ("score_pool3", 0.0001)):
        state[f"{layer}.weight"] = state[f"{layer}.weight"] / factor
    if factors:
        state |= {"scale_pool4.weight": torch.full((8,), 0.01), "scale_pool3.weight": torch.full((4,), 0.0001)}
    torch.save(state, tmp_path / "at_once.pth")
    at_once = FCN8s(5, width=1, at_once=True, weights=tmp_path / "at_once.pth").eval()
    torch.testing.assert_close(at_once(image(64, 64)), module(image(64, 64)), rtol=1e-4, atol=1e-4)
    if factors:
        with pytest.raises(ValueError, match=r"at_once\.pth does not fit FCN8s: unexpected: scale_pool4\.weight"):
            FCN8s(5, width=1, weights=tmp_path / "at_once.pth")


@pytest.mark.parametrize(
    ("network", "key_map"),
    [
        (FCN8s, fcn8s.PUBLISHED),
        (DeepLabVGG, deeplab.VGG_PUBLISHED),
        (DeepLabResNet101, deeplab.RESNET_CAFFE),
        (FrontEnd, frontend.FRONT_END_PUBLISHED),
        (Context, frontend.CONTEXT_PUBLISHED),
    ],
)
def test_caffes_own_file_fills_the_network(tmp_path, network, key_map):
    torch.manual_seed(0)
    saved = network(2, width=1)
    state = published.random_state(saved, key_map)
    (tmp_path / "net.caffemodel").write_bytes(caffemodel(layers_of(state)))
    own = network(2, width=1, weights=tmp_path / "net.caffemodel").state_dict()
    for name, tensor in state.items():
        torch.testing.assert_close(own[key_map[name]], tensor, rtol=1e-6, atol=0)


def test_front_end_loads_the_file_of_both(tmp_path):
    torch.manual_seed(0)
    state = published.random_state(Context(2, width=1), frontend.CONTEXT_PUBLISHED)
    (tmp_path / "dilation8.caffemodel").write_bytes(caffemodel(layers_of(state)))
    front_end = FrontEnd(2, width=1, weights=tmp_path / "dilation8.caffemodel")
    both = Context(2, width=1, weights=tmp_path / "dilation8.caffemodel")
    own = both.front_end.state_dict()
    assert all(torch.equal(tensor, own[name]) for name, tensor in front_end.state_dict().items())
    assert torch.equal(front_end.final.weight, state["fc-final.weight"])


def test_colours_are_those_of_the_published_training():
    """White less the mean of the training set, blue first."""
    with torch.no_grad():
        for network, mean in (
            (FCN8s, (104.00699, 116.66877, 122.67892)),
            (DeepLabVGG, (104.008, 116.669, 122.675)),
            (DeepLabResNet101, (104.008, 116.669, 122.675)),
            (FrontEnd, (102.93, 111.36, 116.52)),
        ):
            seen = network(2, width=1).colours(torch.tensor([1.0, 0.5, 0.0]).reshape(1, 3, 1, 1)).flatten()
            torch.testing.assert_close(seen, torch.tensor([0.0, 127.5, 255.0]) - torch.tensor(mean))


def framed(pixels):
    """Four pixels in front, to a side of 8 k + 1."""
    rows, columns = (8 * (-(-side // 8) + 1) + 1 - side - 4 for side in pixels.shape[2:])
    return F.pad(pixels, (4, columns, 4, rows))


def at_cells(scores, pixels, count=None):
    size = pixels.shape[2:]
    return read_at_cells(scores, size, count or tuple(-(-side // 8) for side in size), first=-4, step=8)


@pytest.mark.parametrize("size", [(216, 232), (213, 229)])  # dilations up to 24 cells find something
@torch.no_grad()
def test_deeplab_vgg_computes_what_was_published(size):
    module, state = loaded(DeepLabVGG(5, width=1), deeplab.VGG_PUBLISHED)
    pixels = module.colours(image(*size))
    expected = at_cells(published.deeplab_vgg(state, framed(pixels)), pixels)
    torch.testing.assert_close(module(image(*size)), expected)


@torch.no_grad()
def test_deeplab_resnet101_takes_the_greatest_of_what_was_published_at_three_scales():
    module, state = loaded(DeepLabResNet101(5, width=1), deeplab.RESNET_PUBLISHED)
    pixels = module.colours(image(213, 229))
    scores = []
    for size in ((213, 229), (159, 171), (106, 114)):
        scaled = F.interpolate(pixels, size, mode="bilinear") if size != (213, 229) else pixels
        scores.append(at_cells(published.deeplab_resnet101(state, framed(scaled)), scaled, count=(27, 29)))
    assert len(torch.stack(scores).argmax(0).unique()) == 3  # each scale wins somewhere
    torch.testing.assert_close(module(image(213, 229)), torch.stack(scores).amax(0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("network", "function", "key_map"),
    [
        (FrontEnd, published.front_end, frontend.FRONT_END_PUBLISHED),
        (Context, published.context, frontend.CONTEXT_PUBLISHED),
    ],
)
@torch.no_grad()
def test_front_end_and_context_compute_what_was_published(network, function, key_map):
    module, state = loaded(network(3, width=1), key_map)
    picture = image(208, 224)
    colours = module.colours if network is FrontEnd else module.front_end.colours
    expected = function(state, F.pad(colours(picture), (186,) * 4, mode="reflect"))
    assert expected.shape == (1, 3, 26, 28)
    torch.testing.assert_close(module(picture), expected)


@torch.no_grad()
def test_front_end_reflects_small_images_again_and_again():
    module, state = loaded(FrontEnd(3, width=1), frontend.FRONT_END_PUBLISHED)
    picture = image(40, 8)
    mirrored = np.pad(module.colours(picture)[0].numpy(), ((0, 0), (186, 186), (186, 186)), mode="reflect")
    torch.testing.assert_close(module(picture), published.front_end(state, torch.from_numpy(mirrored)[None]))


def test_context_starts_as_the_identity_on_positive_scores():
    torch.manual_seed(0)
    module = Context(5, width=1).eval()
    picture = image(64, 64)
    with torch.no_grad():
        torch.nn.init.normal_(module.front_end.final.weight, std=1.0)
        front_end, context = module.front_end(picture), module(picture)
    assert 0.2 < (front_end > 0).double().mean() < 0.8
    torch.testing.assert_close(context, front_end.relu(), rtol=0, atol=0.1 * front_end.max().item())


@pytest.mark.parametrize("network", [FCN8s, DeepLabVGG, FrontEnd])
@torch.no_grad()
def test_torchvision_weights_see_torchvision_colours(tmp_path, network):
    key_map = {FCN8s: fcn8s.IMAGENET, DeepLabVGG: deeplab.VGG_IMAGENET, FrontEnd: frontend.FRONT_END_IMAGENET}[network]
    own = network(2, width=1).state_dict()
    weights = {key: torch.randn(own[target].shape) for key, target in key_map.items() if target}
    torch.save(weights, tmp_path / "vgg16.pth")
    module = network(2, width=1, weights=tmp_path / "vgg16.pth")
    picture = image(9, 9)
    normalised = (picture - torch.tensor(IMAGENET_MEAN).reshape(3, 1, 1)) / torch.tensor(IMAGENET_STD).reshape(3, 1, 1)
    expected = F.conv2d(normalised, weights["features.0.weight"], weights["features.0.bias"])
    first = module.trunk[0]
    seen = F.conv2d(module.colours(picture), first.weight, first.bias)
    torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(module.trunk[28].weight, weights["features.28.weight"])


@torch.no_grad()
def test_torchvision_resnet_sees_torchvision_colours(tmp_path):
    own = DeepLabResNet101(2, width=1).state_dict()
    weights = {key: torch.rand(own[target].shape) + 0.5 for key, target in deeplab.RESNET_IMAGENET.items() if target}
    torch.save(weights, tmp_path / "resnet101.pth")
    module = DeepLabResNet101(2, width=1, weights=tmp_path / "resnet101.pth").eval()
    picture = image(15, 15)
    normalised = (picture - torch.tensor(IMAGENET_MEAN).reshape(3, 1, 1)) / torch.tensor(IMAGENET_STD).reshape(3, 1, 1)
    norm = (weights[f"bn1.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    expected = F.batch_norm(F.conv2d(normalised, weights["conv1.weight"]), *norm)
    seen = module.trunk.bn1(F.conv2d(module.colours(picture), module.trunk.conv1.weight))
    torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_constructor_tells_a_front_end_from_the_context_network(tmp_path):
    torch.manual_seed(0)
    front_end = Context(2, width=1)
    state = published.random_state(front_end, frontend.CONTEXT_FRONT_END)
    torch.save(state, tmp_path / "front_end.pth")
    module = Context(2, width=1, weights=tmp_path / "front_end.pth")
    assert torch.equal(module.front_end.final.weight, state["fc-final.weight"])
    torch.save(module.state_dict(), tmp_path / "own.pth")
    again = Context(2, width=1, weights=tmp_path / "own.pth")
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), again.parameters(), strict=True))


def test_weights_of_another_number_of_classes_are_refused(tmp_path):
    torch.save(published.random_state(FCN8s(3, width=1), fcn8s.PUBLISHED), tmp_path / "fcn8s.pth")
    with pytest.raises(ValueError, match=r"fcn8s\.pth does not fit FCN8s.*score_fr\.weight is \(3, 64, 1, 1\)"):
        load_weights(FCN8s(2, width=1), tmp_path / "fcn8s.pth", fcn8s.PUBLISHED)
