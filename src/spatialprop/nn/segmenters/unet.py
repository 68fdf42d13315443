"""The coarse U-Net of the paper's supplement: a segmenter that sees an eighth of the resolution."""

from collections.abc import Iterable
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from spatialprop.nn.resize import pad_to_multiple
from spatialprop.nn.segmenters.cells import cells
from spatialprop.nn.segmenters.pixels import check_image
from spatialprop.nn.segmenters.vgg import conv


class UNet(nn.Module):
    """Segment a shrunk image with the paper's symmetric U-Net.

    The image is shrunk by `factor`. Each stage down is conv + relu + max-pool, and doubles the channels; each stage up
    is bilinear upsampling, the sum with the map of the same size on the way down, and conv + relu. The last conv gives
    the logits, which tile the image. 3,138,955 parameters with 11 classes.

    Args:
        num_classes: Number of classes K.
        factor: How many times smaller than the image the network works.
        width: Channels of the first stage.
        depth: Number of stages down, and up.

    Example:
        >>> import torch
        >>> UNet(num_classes=11)(torch.rand(1, 3, 375, 500)).shape
        torch.Size([1, 11, 47, 63])
    """

    def __init__(self, num_classes: int, *, factor: int = 8, width: int = 32, depth: int = 5) -> None:
        super().__init__()
        for name, value in (("num_classes", num_classes), ("factor", factor), ("width", width), ("depth", depth)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1; got {value}")
        self.stride = self.feature_stride = factor
        self.feature_channels = width
        channels = [width * 2**stage for stage in range(depth)]
        self.down = nn.ModuleList(
            conv(before, after, 3, padding=1) for before, after in zip([3, *channels], channels, strict=False)
        )
        self.up = nn.ModuleList(conv(before, after, 3, padding=1) for before, after in pairwise(channels[::-1]))
        self.classifier = nn.Conv2d(width, num_classes, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, K, ceil(H / factor), ceil(W / factor)) of RGB images (N, 3, H, W) from 0 to 1."""
        return self.forward_with_features(image)[0]

    def forward_with_features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and the last map before the classifier."""
        features = self.features(image)
        return self.classifier(features), features

    def features(self, image: Tensor) -> Tensor:
        """The last map before the classifier. (N, feature_channels, ceil(H / factor), ceil(W / factor))"""
        check_image(image)
        height, width = cells(image.shape[2:], self.stride)
        x = F.interpolate(image, size=(height, width), mode="area")
        x = pad_to_multiple((x - 0.5) / 0.25, 2 ** len(self.down))
        return down_and_up(x, self.down, self.up)[..., :height, :width]


def down_and_up(x: Tensor, down: Iterable[nn.Module], up: Iterable[nn.Module]) -> Tensor:
    """Convolve and pool on the way down; convolve, enlarge and add the map of the same size on the way up."""
    skips = []
    for convolution in down:
        x = F.relu(convolution(x))
        skips.append(x)
        x = F.max_pool2d(x, 2)
    x = _upsample(x) + skips.pop()
    for convolution in up:
        x = _upsample(F.relu(convolution(x))) + skips.pop()
    return x


def _upsample(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
