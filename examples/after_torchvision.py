"""Refine the output of a torchvision segmenter, on the model's own device.

    from torchvision.models.segmentation import DeepLabV3_ResNet50_Weights, deeplabv3_resnet50

    weights = DeepLabV3_ResNet50_Weights.DEFAULT
    model = deeplabv3_resnet50(weights=weights).eval()
    labels = segment(model, weights.transforms(), Refiner.load("light"), images)

Only the interface is used: a transform that prepares images, and a model that returns {"out": scores (N, K, h, w)}.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from spatialprop import Refiner


@torch.inference_mode()
def segment(model: Any, prepare: Callable[[Tensor], Tensor], refiner: Refiner, images: Tensor) -> Tensor:
    """Return the refined label maps of bytes (N, 3, H, W). (N, H, W)"""
    coarse = model(prepare(images))["out"].softmax(dim=1)
    return refiner(images, coarse)
