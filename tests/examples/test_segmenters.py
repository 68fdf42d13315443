"""The examples run behind anything with the interface of the libraries that they are for."""

import importlib.util
import types
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from spatialprop import Refiner
from tests.refiner.networks import photograph, trained

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class BatchFeature(dict):
    def to(self, device):
        return BatchFeature({name: value.to(device) for name, value in self.items()})


def scores(pixels):
    """Three classes by colour, at a quarter of the resolution."""
    return 4 * torch.nn.functional.avg_pool2d(pixels, 4)


def test_after_huggingface():
    class Segmenter(torch.nn.Module):
        device = torch.device("cpu")

        def forward(self, pixel_values):
            return types.SimpleNamespace(logits=scores(pixel_values))

    def processor(images, return_tensors):
        assert return_tensors == "pt"
        pixels = torch.from_numpy(np.array(images.resize((32, 32)))).permute(2, 0, 1)[None]
        return BatchFeature(pixel_values=pixels / 255)

    refiner = Refiner(trained())
    image = Image.fromarray(photograph(30, 44))
    labels = load("after_huggingface").segment(Segmenter(), processor, refiner, image)
    assert labels.shape == (30, 44)
    coarse = scores(processor(image, "pt")["pixel_values"]).softmax(1)[0]
    assert torch.equal(labels, refiner(image, coarse))


def test_after_torchvision():
    images = torch.stack([torch.from_numpy(photograph(24, 32, seed)).permute(2, 0, 1) for seed in range(2)])
    refiner = Refiner(trained())
    labels = load("after_torchvision").segment(
        lambda batch: {"out": scores(batch)}, lambda batch: batch / 255, refiner, images
    )
    assert labels.shape == (2, 24, 32)
    assert torch.equal(labels, refiner(images, scores(images / 255).softmax(1)))
