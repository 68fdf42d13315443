"""Refine the output of a Hugging Face segmenter.

    from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

    processor = AutoImageProcessor.from_pretrained("nvidia/segformer-b0-finetuned-ade-512-512")
    model = AutoModelForSemanticSegmentation.from_pretrained("nvidia/segformer-b0-finetuned-ade-512-512")
    labels = segment(model, processor, Refiner.load("light"), Image.open("photo.jpg"))

Only the interface is used: a processor that turns images into a batch, and a model that returns `.logits` (N, K, h, w).
"""

from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from spatialprop import Refiner


@torch.inference_mode()
def segment(model: Any, processor: Any, refiner: Refiner, image: Image) -> Tensor:
    """Return the refined label map at the size of the image. (H, W)"""
    image = image.convert("RGB")
    batch = processor(images=image, return_tensors="pt").to(model.device)
    # No upsampling: the refiner takes probabilities at the model's own resolution.
    coarse = model(**batch).logits.softmax(dim=1)[0]
    return refiner(image, coarse.to(refiner.device))
