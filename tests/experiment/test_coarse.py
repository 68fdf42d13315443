"""What is kept of a frozen segmenter's maps."""

import numpy as np
import pytest
import torch
from torch import nn

from spatialprop.data import CoarseFiles, SyntheticShapes
from spatialprop.experiment.coarse import predict


class ByBrightness(nn.Module):
    """Scores of six classes, at the resolution of the image or at a `stride` of it."""

    def __init__(self, stride):
        super().__init__()
        self.stride = stride

    def forward(self, image):
        grey = image.mean(dim=1, keepdim=True)[..., :: self.stride, :: self.stride]
        return grey * torch.arange(6.0).reshape(1, 6, 1, 1)


@pytest.mark.parametrize("stride", [1, 4])
def test_finer_maps_are_kept_at_an_eighth_as_means_of_probabilities(tmp_path, stride):
    shapes = SyntheticShapes("test", 1, size=(48, 64))
    files = CoarseFiles(tmp_path, shapes.labels)
    network = ByBrightness(stride)
    assert predict(network, shapes, files, torch.device("cpu")) == 1
    assert predict(network, shapes, files, torch.device("cpu")) == 0  # it is there
    image = torch.from_numpy(shapes[0].image.transpose(2, 0, 1).copy()).float()[None] / 255
    cells = network(image).softmax(dim=1).reshape(6, 6, 8 // stride, 8, 8 // stride).mean(dim=(2, 4))
    kept = files(shapes[0])
    assert kept.dtype == np.uint8
    np.testing.assert_allclose(kept, cells * 255, atol=0.51)


def test_coarser_maps_are_kept_as_they_are(tmp_path):
    shapes = SyntheticShapes("test", 1, size=(48, 64))
    files = CoarseFiles(tmp_path, shapes.labels)
    predict(ByBrightness(16), shapes, files, torch.device("cpu"))
    assert files(shapes[0]).shape == (6, 3, 4)
