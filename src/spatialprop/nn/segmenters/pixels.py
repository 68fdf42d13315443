"""The input of a segmenter: checks, and the colours that its weights were trained on."""

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def check_image(image: Tensor) -> None:
    """Raise unless `image` is a batch of RGB images in floating point."""
    if image.dim() != 4 or image.shape[1] != 3 or 0 in image.shape:
        raise ValueError(f"image must be RGB, (N, 3, H, W) and not empty; got {tuple(image.shape)}")
    if not image.is_floating_point():
        raise TypeError(
            f"image must be floating point from 0 to 1; got {image.dtype}, convert with image.float() / 255"
        )


class CaffeColours(nn.Module):
    """RGB from 0 to 1 into what networks trained in Caffe see: BGR from 0 to 255 less the mean of their training set.

    Example:
        >>> import torch
        >>> CaffeColours((100.0, 110.0, 120.0))(torch.ones(1, 3, 1, 1)).flatten()
        tensor([155., 145., 135.])
    """

    mean: Tensor

    def __init__(self, mean_bgr: tuple[float, float, float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean_bgr).reshape(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        check_image(image)
        return image.flip(1) * 255 - self.mean

    @torch.no_grad()
    def adopt(self, first: nn.Module, norm: nn.BatchNorm2d | None = None) -> None:
        """Turn a `first` layer that expects torchvision's colours, or is fresh, into one for these.

        torchvision's networks see RGB from 0 to 1, less a mean and divided by a deviation. The scale goes into the
        weights, the difference of the means into the bias, or into the mean of the `norm` that follows.
        """
        assert isinstance(first, nn.Conv2d)
        mean = self.mean.new_tensor(IMAGENET_MEAN).reshape(3, 1, 1)
        std = self.mean.new_tensor(IMAGENET_STD).reshape(3, 1, 1)
        shift = ((self.mean.flip(0) / 255 - mean) / std * first.weight).sum((1, 2, 3))
        if first.bias is not None:
            first.bias += shift
        elif norm is not None and norm.running_mean is not None:
            norm.running_mean -= shift
        first.weight.copy_((first.weight / std / 255).flip(1))
