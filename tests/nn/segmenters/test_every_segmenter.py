"""What every segmenter must do; a new one is one more line in `SEGMENTERS`."""

import copy
import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spatialprop.data import SyntheticShapes
from spatialprop.nn import JointNetwork
from spatialprop.nn.guidance import LightGuidance
from spatialprop.nn.segmenters import Context, DeepLabResNet101, DeepLabVGG, External, FCN8s, FrontEnd, HighRes, UNet
from spatialprop.nn.segmenters.resnet import ResNet101Trunk
from spatialprop.nn.segmenters.vgg import vgg16_trunk


class Foreign(nn.Module):
    """A model as another library might have it."""

    def __init__(self, num_classes):
        super().__init__()
        self.trunk = nn.Conv2d(3, 4, 3, padding=1)
        self.classifier = nn.Conv2d(4, num_classes, 1)

    def forward(self, x):
        shrunk = F.adaptive_avg_pool2d(x, [-(-side // 8) for side in x.shape[-2:]])
        return {"out": self.classifier(self.trunk(shrunk).relu())}


CLASSES = 3
SEGMENTERS = {
    "fcn8s": lambda: FCN8s(CLASSES, width=1),
    "deeplab_vgg": lambda: DeepLabVGG(CLASSES, width=1),
    "deeplab_resnet101": lambda: DeepLabResNet101(CLASSES, width=1),
    "frontend": lambda: FrontEnd(CLASSES, width=1),
    "context": lambda: Context(CLASSES, width=1),
    "unet": lambda: UNet(CLASSES, width=2),
    "highres": lambda: HighRes(CLASSES),
    "external": lambda: External(CLASSES, Foreign, output="out", features="trunk"),
    "external scores": lambda: External(CLASSES, Foreign, output="out"),
}
STRIDES = {"unet": 8, "highres": 1}  # 8 for the others


@pytest.mark.parametrize("network", [FCN8s, DeepLabVGG, DeepLabResNet101, FrontEnd, Context, HighRes])
def test_docstring_gives_the_number_of_parameters(network):
    classes = 11 if network is HighRes else 21
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in network(classes).parameters())
    assert f"{parameters:,} parameters with {classes} classes" in network.__doc__


@pytest.mark.parametrize("trunk", [vgg16_trunk, ResNet101Trunk])
def test_docstring_gives_the_number_of_parameters_of_a_trunk(trunk):
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in trunk().parameters())
    assert f"{parameters:,} parameters" in trunk.__doc__


@pytest.mark.parametrize("network", [FCN8s, DeepLabVGG, DeepLabResNet101, FrontEnd, Context, HighRes])
def test_number_of_classes_is_checked(network):
    with pytest.raises(ValueError, match="num_classes must be at least 1; got 0"), torch.device("meta"):
        network(0)


@pytest.fixture(params=SEGMENTERS)
def name(request):
    return request.param


@pytest.fixture
def network(name):
    torch.manual_seed(0)
    return SEGMENTERS[name]().eval()


def image(height, width, batch=1, **options):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1), **options)


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (33, 17), (8, 64), (95, 50)])
@torch.no_grad()
def test_any_size_gives_logits_at_the_stride(name, network, size):
    stride = STRIDES.get(name, 8)
    assert getattr(network, "stride", 8) == stride  # that of a model of another library is not known
    logits = network(image(*size, batch=2))
    assert logits.shape == (2, CLASSES, -(-size[0] // stride), -(-size[1] // stride))
    assert logits.isfinite().all()


@pytest.mark.parametrize("size", [(1, 1), (33, 17)])
@torch.no_grad()
def test_features_come_with_the_same_logits(network, size):
    logits, features = network.forward_with_features(image(*size))
    assert torch.equal(logits, network(image(*size)))
    cells = [-(-side // getattr(network, "feature_stride", 8)) for side in size]
    assert features.shape == (1, network.feature_channels, *cells)


@torch.no_grad()
def test_float64_agrees_with_float32(network):
    single = network(image(33, 40))
    double = network.double()(image(33, 40).double())
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(single.double(), double, rtol=1e-3, atol=1e-3 * double.abs().max().item())


def test_gradient_reaches_every_parameter_and_the_image(network):
    # Everything positive, so that no ReLU is shut by chance.
    for parameter in network.parameters():
        parameter.data = parameter.data.abs() + 1e-3
    pixels = image(80, 80).div_(2).add_(0.5).requires_grad_()
    network(pixels).sum().backward()
    silent = [
        key for key, parameter in network.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert not silent
    assert pixels.grad.any()


@pytest.mark.parametrize("guidance", [None, lambda channels: LightGuidance(channels, width=8)], ids=["trunk", "own"])
def test_trains_jointly_with_a_refinement(network, guidance):
    joint = JointNetwork(network, guidance).train()
    coarse, refined = joint(image(45, 70, batch=2))
    assert coarse.shape == refined.shape == (2, CLASSES, 45, 70)
    (refined * torch.rand_like(refined)).sum().backward()
    assert next(network.parameters()).grad is not None
    assert all(parameter.grad.isfinite().all() for parameter in joint.parameters() if parameter.grad is not None)


@torch.no_grad()
def test_eval_is_deterministic_and_each_image_stands_alone(network):
    batch = image(40, 24, batch=2)
    together = network(batch)
    assert torch.equal(network(batch), together)
    alone = torch.cat([network(batch[:1]), network(batch[1:])])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-4 * together.abs().max().item())


@torch.no_grad()
def test_training_leaves_the_buffers_alone_and_drops_only_where_there_is_dropout(network):
    before = copy.deepcopy(dict(network.named_buffers()))
    network.train()
    first, second = network(image(40, 24)), network(image(40, 24))
    assert first.shape == second.shape
    drops = any(isinstance(module, nn.Dropout) for module in network.modules())
    assert torch.equal(first, second) != drops
    assert all(torch.equal(buffer, before[key]) for key, buffer in network.named_buffers())


@torch.no_grad()
def test_state_dict_round_trip(name, network, tmp_path):
    torch.save(network.state_dict(), tmp_path / "state.pth")
    torch.manual_seed(1)
    other = SEGMENTERS[name]().eval()
    assert not torch.equal(other(image(24, 24)), network(image(24, 24)))
    other.load_state_dict(torch.load(tmp_path / "state.pth", weights_only=True))
    assert torch.equal(other(image(24, 24)), network(image(24, 24)))


@torch.no_grad()
def test_input_is_not_written_to(network):
    pixels = image(24, 40)
    before = pixels.clone()
    network(pixels)
    assert torch.equal(pixels, before)


@pytest.mark.parametrize("shape", [(1, 1, 16, 16), (1, 4, 16, 16), (3, 16, 16)])
def test_wrong_input_is_named(network, shape):
    with pytest.raises(ValueError, match=rf"image must be RGB.*got {re.escape(str(shape))}"):
        network(torch.rand(shape))


def test_bytes_are_refused(network):
    with pytest.raises(TypeError, match=r"image must be floating point from 0 to 1; got torch\.uint8"):
        network(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))


def mean_network(network):
    """Let each layer hand on the mean of the channels at its middle: logits become the brightness that they look at."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.zeros_(module.weight)
            middle = module.kernel_size[0] // 2
            module.weight.data[:, :, middle, middle] = 1 / module.in_channels
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


@pytest.mark.parametrize("what", ["logits", "features"])
@pytest.mark.parametrize("width", [1024, 1015])
@torch.no_grad()
def test_maps_tile_the_image(name, network, width, what):
    """Each sample looks at the middle of its cell (half-pixel centres), whether or not the image divides."""
    network = mean_network(network)
    look = network if what == "logits" else lambda pixels: network.forward_with_features(pixels)[1]
    ramp = torch.linspace(0.6, 1.0, width)
    dark, bright, rising, falling = (
        look(row.expand(1, 3, 8, width))[0, 0, 0]
        for row in (torch.full((width,), 0.6), torch.ones(width), ramp, ramp.flip(0))
    )
    # Max-pooling looks half a pooling ahead towards the bright end, whichever it is: the two ramps cancel that.
    seen = ((rising - falling) / (bright - dark) + 1) / 2 * (width - 1)
    cells = len(seen)
    middle = (torch.arange(cells) + 0.5) * width / cells - 0.5
    inner = slice(3 * cells // 10, 6 * cells // 10)  # paddings reach far into the smallest maps
    # The U-Net shrinks images by means over whole pixels, and so does the model of another library.
    tolerance = 0.6 if name in ("unet", "external", "external scores") else 0.05
    torch.testing.assert_close(seen[inner], middle[inner], rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", SEGMENTERS)
@torch.no_grad()
def test_gates_from_its_features_are_fine_enough_for_its_scores(name, monkeypatch):
    """Where nothing has been learnt yet, propagation leaves a segmentation as it is, whatever the features' stride."""
    network = SEGMENTERS[name]().eval()
    shapes = SyntheticShapes("test", 1, size=(192, 256))[0]
    image = torch.from_numpy(shapes.image.transpose(2, 0, 1).copy()).float()[None] / 255
    scores, features = network.forward_with_features(image)
    # The scores of a segmenter that knows the truth, as fine as this one's.
    truth = F.one_hot(torch.from_numpy(shapes.label).long().clamp(max=CLASSES - 1), CLASSES).permute(2, 0, 1)[None]
    known = F.adaptive_avg_pool2d(truth.float(), scores.shape[-2:]).clamp_min(1e-3).log()
    monkeypatch.setattr(network, "forward_with_features", lambda _: (known, features))
    coarse, refined = JointNetwork(network).eval()(image)
    assert (coarse.argmax(dim=1) == refined.argmax(dim=1)).float().mean() > 0.99
