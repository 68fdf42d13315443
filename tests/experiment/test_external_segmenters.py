"""Models of other libraries as segmenters, on stand-ins with the interfaces that those libraries publish."""

import ast
import copy
import json
import re
import sys
from textwrap import dedent
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.optim import AdamW

from spatialprop.data import ImageFolder, LabelSet
from spatialprop.experiment.evaluation import evaluate
from spatialprop.experiment.parts import make_segmenter, make_task
from spatialprop.experiment.training import train
from spatialprop.nn import DilatedAffinityNetwork
from spatialprop.nn.segmenters import External, OnFeatures
from spatialprop.tasks.optimization import Optimization
from tests.data.tiny_folder import write_tiny_folder
from tests.experiment.tiny import REPOSITORY, TINY, composed

LABELS = LabelSet("three", ("background", "cat", "dog"))
LIBRARIES = ("torchvision", "timm", "transformers", "mmseg")
STAND_INS = {
    "torchvision/__init__.py": "",
    "torchvision/models/__init__.py": "",
    "torchvision/models/segmentation.py": """
        from collections import OrderedDict
        import torch

        class DeepLabV3(torch.nn.Module):
            def __init__(self, num_classes):
                super().__init__()
                self.classifier = torch.nn.Conv2d(3, num_classes, 1)

            def forward(self, x):
                result = OrderedDict()
                result["out"] = self.classifier(x)
                result["aux"] = None
                return result

        def deeplabv3_resnet50(*, weights=None, progress=True, num_classes=None, aux_loss=None, weights_backbone=None):
            return DeepLabV3(num_classes or 3)
        """,
    "timm/__init__.py": """
        import torch

        class FeatureInfo:
            def channels(self):
                return [4, 6, 8, 10, 12]

            def reduction(self):
                return [2, 4, 8, 16, 32]

        class Features(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.feature_info = FeatureInfo()
                widths = [3, *self.feature_info.channels()]
                self.stages = torch.nn.ModuleList(
                    torch.nn.Conv2d(a, b, 2, stride=2) for a, b in zip(widths, widths[1:])
                )

            def forward(self, x):
                assert x.shape[-1] % 32 == x.shape[-2] % 32 == 0
                maps = []
                for stage in self.stages:
                    x = stage(x)
                    maps.append(x)
                return maps

        def create_model(model_name, pretrained=False, *, features_only=False, **options):
            assert features_only and model_name == "resnet18"
            return Features()
        """,
    "transformers/__init__.py": """
        from dataclasses import dataclass
        import torch

        @dataclass
        class SemanticSegmenterOutput:
            logits: torch.Tensor

        class SegformerForSemanticSegmentation(torch.nn.Module):
            @classmethod
            def from_pretrained(cls, pretrained_model_name_or_path, *, num_labels, ignore_mismatched_sizes):
                model = cls()
                model.head = torch.nn.Conv2d(3, num_labels, 4, stride=4)
                return model

            def forward(self, pixel_values, labels=None):
                return SemanticSegmenterOutput(self.head(pixel_values))
        """,
    "mmseg/__init__.py": "",
    "mmseg/apis.py": """
        import torch

        class EncoderDecoder(torch.nn.Module):
            def __init__(self, classes):
                super().__init__()
                self.decode_head = torch.nn.Conv2d(3, classes, 8, stride=8)

            def forward(self, inputs, data_samples=None, mode="tensor"):
                assert mode == "tensor"
                return self.decode_head(inputs)

        def init_model(config, checkpoint=None, device="cuda:0", cfg_options=None):
            assert device == "cpu"
            return EncoderDecoder(int(config.removeprefix("classes_")))
        """,
}
OVERRIDES = {"torchvision": (), "timm": (), "huggingface": (), "mmseg": ("segmenter.network.model.config=classes_3",)}
SIZES = {"torchvision": (40, 50), "timm": (40, 50), "huggingface": (10, 12), "mmseg": (5, 6)}


def forget_libraries():
    for name in [name for name in sys.modules if name.partition(".")[0] in LIBRARIES]:
        del sys.modules[name]


@pytest.fixture
def libraries(tmp_path, monkeypatch):
    """The libraries as packages in a folder of their own, gone again afterwards."""
    for path, code in STAND_INS.items():
        place = tmp_path / "packages" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(dedent(code))
    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in LIBRARIES}
    forget_libraries()
    monkeypatch.syspath_prepend(tmp_path / "packages")
    yield
    forget_libraries()
    sys.modules.update(kept)


@pytest.mark.parametrize("library", OVERRIDES)
def test_each_config_makes_a_segmenter(libraries, library):
    config = composed("train", f"segmenter={library}", *OVERRIDES[library])
    network = make_segmenter(config, LABELS)
    assert isinstance(network, External)
    image = torch.rand(2, 3, 40, 50, requires_grad=True)
    logits = network(image)
    assert logits.shape == (2, 3, *SIZES[library])
    logits.sum().backward()
    assert image.grad.any()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("features", ["null", "named"])
@pytest.mark.parametrize("library", OVERRIDES)
def test_affinities_are_predicted_on_top_of_each(libraries, library, features):
    named = {"torchvision": "classifier", "timm": "backbone.stages.2", "huggingface": "head", "mmseg": "decode_head"}
    chosen = [f"segmenter.network.features={named[library]}"] if features == "named" else []
    config = composed("train", "task=dilated_affinity", f"segmenter={library}", *OVERRIDES[library], *chosen)
    network = make_task(config, LABELS, {}, Optimization(AdamW)).network
    prediction = network(torch.rand(2, 3, 40, 50))
    assert prediction.pairs.shape == (2, 16, *SIZES[library])
    assert prediction.refined.shape == (2, 3, 40, 50)
    (prediction.refined.sum() + prediction.pairs.sum()).backward()
    assert all(parameter.grad is not None for parameter in network.segmenter.parameters())


class Model(torch.nn.Module):
    """Looks at eight times eight pixels, and returns its features as `wrap` has them."""

    def __init__(self, num_classes, wrap=None):
        super().__init__()
        self.stem = torch.nn.Sequential(torch.nn.AvgPool2d(8), torch.nn.BatchNorm2d(3, affine=False))
        self.backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 1), Wrapped(wrap or as_it_is))
        self.head = torch.nn.Conv2d(3, num_classes, 1)
        self.spare = torch.nn.Conv2d(3, 3, 1)

    def forward(self, x):
        x = self.stem(x)
        self.backbone(x)
        return self.head(x)


class Wrapped(torch.nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.wrap = wrap

    def forward(self, x):
        return self.wrap(x)


def as_it_is(maps):
    return maps


def in_a_tuple(maps):
    return None, maps, maps[:, :1]


def in_a_mapping(maps):
    return {"pooled": maps.mean(dim=(2, 3)), "out": maps}


def in_an_object(maps):
    return SimpleNamespace(pooled=maps.mean(dim=(2, 3)), last_hidden_state=maps)


@pytest.mark.parametrize("wrap", [as_it_is, in_a_tuple, in_a_mapping, in_an_object])
def test_features_are_the_first_map_that_the_named_module_returns(wrap):
    network = External(3, lambda num_classes: Model(num_classes, wrap), features="backbone")
    image = torch.rand(2, 3, 32, 48)
    logits, features = network.eval().forward_with_features(image)
    assert network.feature_channels == 5
    convolution = network.model.backbone[0]
    torch.testing.assert_close(features, convolution(network.model.stem((image - network.mean) / network.std)))
    assert torch.equal(logits, network(image))


def test_without_a_named_module_features_are_the_logits():
    network = External(3, Model).eval()
    image = torch.rand(1, 3, 16, 24)
    logits, features = network.forward_with_features(image)
    assert torch.equal(features, network(image))
    assert features is logits
    assert network.feature_channels == 3


def test_reading_features_leaves_a_model_as_it_was(tmp_path):
    network = External(3, Model, features="backbone").train()
    before = copy.deepcopy(network.state_dict())
    assert network.feature_channels == 5
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(module.training for module in network.modules())
    network.forward_with_features(torch.rand(1, 3, 16, 16))
    assert not any(module._forward_hooks for module in network.modules())
    torch.save(copy.deepcopy(network), tmp_path / "model.pth")


def test_no_hook_is_left_where_a_model_fails():
    network = External(3, Model, features="backbone")
    with pytest.raises(RuntimeError):
        network.forward_with_features(torch.rand(1, 3, 2, 2))
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("size", [(64, 96), (33, 70), (40, 31)])
def test_padding_is_cut_off_features_too(size):
    """The model copies brightness at a stride of 8: features hold the ramp at the middles of their cells."""

    class Copies(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.shrink = torch.nn.AvgPool2d(8)

        def forward(self, x):
            return self.shrink(x)

    colours = {"mean": (0, 0, 0), "std": (1, 1, 1)}
    network = External(3, Copies, classes_argument=None, multiple=32, features="shrink", **colours)
    ramp = torch.arange(float(size[1])).expand(1, 3, *size)
    _, features = network.forward_with_features(ramp)
    cells = [-(-side // 8) for side in size]
    assert features.shape == (1, 3, *cells)
    middle = (torch.arange(cells[1]) + 0.5) * size[1] / cells[1] - 0.5
    inner = slice(0, cells[1] - 1)  # the last cell reaches into the padding, where the last pixel is repeated
    torch.testing.assert_close(features[0, 0, 0, inner], middle[inner], rtol=0, atol=0.6)


@pytest.mark.parametrize("error", [AttributeError("no such thing"), ValueError("224 wanted, got 128")])
def test_why_features_cannot_be_counted_is_said(error):
    class Fails(Model):
        def forward(self, image):
            raise error

    with pytest.raises(
        RuntimeError, match=rf"Fails fails on an image of 128 x 128 .* backbone .*: {error}.*features=null"
    ):
        External(3, Fails, features="backbone").feature_channels  # noqa: B018


@pytest.mark.parametrize(
    ("features", "told"),
    [
        ("bakbone", r"'bakbone' is no module of Model; it has backbone.*segmenter\.network\.features=NAME, or null"),
        ("zzz", "'zzz' is no module of Model; it has stem, backbone, head, spare, and others"),
        (3, "features = 3 is no module of Model"),
    ],
)
def test_a_module_that_the_model_lacks_is_named_with_those_near_it(features, told):
    with pytest.raises(ValueError, match=told):
        External(3, Model, features=features)


def no_map(maps):
    return {"pooled": maps.mean(dim=(2, 3))}


@pytest.mark.parametrize(
    ("features", "told"),
    [
        ("backbone", "backbone in Model gives a dict with pooled, which holds no map"),
        ("spare", r"spare in Model gives nothing \(it is not run\), which holds no map"),
    ],
)
def test_a_module_without_a_map_is_refused_before_training(features, told):
    network = External(3, lambda num_classes: Model(num_classes, no_map), features=features)
    with pytest.raises(TypeError, match=told):
        DilatedAffinityNetwork(network)


def test_a_model_sees_the_colours_that_it_was_trained_on():
    seen = []

    class Looks(torch.nn.Module):
        def forward(self, x):
            seen.append(x)
            return x

    External(3, Looks, classes_argument=None, mean=(0.5, 0.25, 0), std=(0.5, 1, 2))(torch.ones(1, 3, 4, 5))
    assert seen[0][0, :, 0, 0].tolist() == [1, 0.75, 0.5]


@pytest.mark.parametrize("size", [(64, 96), (33, 70), (1, 31)])
def test_padding_is_cut_off_where_it_was_put(size):
    """The model copies brightness at a stride of 8: a ramp must come out as the ramp that went in."""

    class Copies(torch.nn.Module):
        def forward(self, x):
            assert x.shape[-2] % 32 == x.shape[-1] % 32 == 0
            return torch.nn.functional.avg_pool2d(x, 8)

    network = External(3, Copies, classes_argument=None, mean=(0, 0, 0), std=(1, 1, 1), multiple=32)
    ramp = torch.linspace(0, 1, size[1]).expand(1, 3, *size)
    logits = network(ramp)
    if size[1] % 32 == 0 and size[0] % 32 == 0:
        assert logits.shape[-2:] == (size[0] // 8, size[1] // 8)
    else:
        assert logits.shape[-2:] == size
        inner = slice(8, max(9, size[1] // 8 * 8 - 8))
        torch.testing.assert_close(logits[..., inner], ramp[..., inner], rtol=0, atol=1e-3 + 8 / size[1])


@pytest.mark.parametrize(
    ("options", "returned", "error", "told"),
    [
        ({}, {"out": torch.zeros(1, 3, 4, 4)}, TypeError, "segmenter.network.output=out"),
        ({"output": "logits"}, {"out": torch.zeros(1, 3, 4, 4)}, TypeError, "a dict with out, in which output"),
        ({}, torch.zeros(1, 4, 4, 4), ValueError, "a segmenter of 3 classes"),
        ({}, torch.zeros(3, 4, 4), ValueError, "a segmenter of 3 classes"),
    ],
)
def test_what_is_no_logits_is_named(options, returned, error, told):
    class Returns(torch.nn.Module):
        def forward(self, x):
            return returned

    with pytest.raises(error, match=told):
        External(3, Returns, classes_argument=None, **options)(torch.zeros(1, 3, 8, 8))


def test_scores_on_features_are_summed(libraries):
    import timm

    network = OnFeatures(3, lambda: timm.create_model("resnet18", features_only=True), stride=8)
    assert list(network.scores) == ["8", "16", "32"]
    image = torch.rand(1, 3, 64, 96)
    maps = network.backbone(image)[2:]
    by_hand = sum(
        torch.nn.functional.interpolate(score(one), size=(8, 12), mode="bilinear", align_corners=False)
        for score, one in zip(network.scores.values(), maps, strict=True)
    )
    torch.testing.assert_close(network(image), by_hand)
    with pytest.raises(ValueError, match=r"maps at the strides \[2, 4, 8, 16, 32\]; stride = 6 is none"):
        OnFeatures(3, lambda: timm.create_model("resnet18", features_only=True), stride=6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec")
def test_a_pretrained_model_is_refined_and_its_run_is_not_trusted_by_itself(libraries, tmp_path):
    root = write_tiny_folder(tmp_path / "data", classes=3, coarse=False)
    kept = [option for option in TINY if option.split(".")[0] not in ("data", "segmenter")]
    options = [
        *kept, "trainer.deterministic=false", "trainer.log_every_n_steps=1", "trainer.max_epochs=1", "data=folder",
        f"data.root={root}", "segmenter=torchvision",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="this segmenter has no weights yet"):
        train(composed("train", *options), tmp_path / "untrained")
    metrics = train(composed("train", *options, "segmenter.pretrained=true"), tmp_path / "run")
    assert {"coarse", "refined"} <= metrics.keys()
    evaluation = [f"run={tmp_path / 'run'}", "workers=0", "callbacks.progress_bar=false", "trainer.deterministic=false"]
    with pytest.raises(ValueError, match="trust=true"):
        evaluate(composed("evaluate", *evaluation), tmp_path / "refused")
    again = evaluate(composed("evaluate", *evaluation, "trust=true"), tmp_path / "again")
    assert again["coarse"]["mIoU"] == metrics["coarse"]["mIoU"]


def test_the_example_in_the_docs_writes_files_that_are_read(libraries, tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "segmenters.md").read_text(), re.DOTALL)
    root = write_tiny_folder(tmp_path / "DATA", classes=3, coarse=False)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/segmenters.md", "exec"), {})
    for split in ("train", "val"):
        examples = ImageFolder(root, [split], tmp_path / "COARSE")
        assert not examples.without_coarse
        coarse = examples[0].coarse
        assert coarse.shape == (3, 5, 7)
        assert np.allclose(coarse.astype(int).sum(axis=0), 255, atol=2)


def test_no_library_is_imported_unconditionally():
    for path in sorted((REPOSITORY / "src").rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & set(LIBRARIES), path


def test_configs_of_libraries_are_read_without_them():
    for library, overrides in OVERRIDES.items():
        assert json.dumps(str(composed("train", f"segmenter={library}", *overrides).segmenter))
