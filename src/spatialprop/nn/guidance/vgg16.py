"""The guidance network of the paper's experiments on Pascal VOC: VGG-16 and a way up again."""

import os
from collections.abc import Iterator
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from spatialprop.nn.guidance.inputs import Colours, weights_for
from spatialprop.nn.published import load_weights
from spatialprop.nn.resize import pad_to_multiple
from spatialprop.nn.segmenters.vgg import conv, torchvision_key_map, vgg16_trunk

STRIDE = 2
POOLS = (4, 9, 16, 23, 30)  # places of the poolings in the trunk


class VGG16Guidance(nn.Module):
    """VGG-16 down to pool5 and a symmetric way up to half the image's resolution.

    Each step up is one convolution, the ReLU, bilinear upsampling and the sum with the pooled map of the same size and
    channels, down to pool1. A patch of 128 pixels gives guidance of 64 x 64.

    18,844,800 parameters with 384 channels: VGG-16's convolutions (14,714,688, torchvision's count), 3 x 3 convolutions
    512 to 512, 256, 128 and 64 channels on the way up, and one from 64 to 384.

    Args:
        out_channels: Channels of guidance.
        in_channels: Channels of the image and of whatever is stacked on it. Of published weights the first three see
            RGB; one or two see brightness; further ones start from nothing.
        width: Channels of the first block, 64 in VGG-16; all others follow.
        weights: A file or an address (see `load_weights`) of torchvision's VGG-16, or of a `VGG16Guidance`: its names
            tell which.

    Example:
        >>> import torch
        >>> VGG16Guidance(384, width=1)(torch.rand(1, 3, 100, 75)).shape
        torch.Size([1, 384, 50, 38])
    """

    stride = STRIDE

    def __init__(
        self, out_channels: int, *, in_channels: int = 3, width: int = 64, weights: str | os.PathLike[str] | None = None
    ) -> None:
        super().__init__()
        self.colours = Colours(in_channels)
        self.trunk = vgg16_trunk(width)
        if in_channels != 3:
            self.trunk[0] = conv(in_channels, width, 3, padding=1)
        channels = (8 * width, 8 * width, 4 * width, 2 * width, width)  # pool5 to pool1
        self.up = nn.ModuleList(conv(before, after, 3, padding=1) for before, after in pairwise(channels))
        self.head = nn.Conv2d(width, out_channels, 3, padding=1)
        # Small gates at first: propagation starts as the identity and learns where to leave it.
        nn.init.normal_(self.head.weight, std=1e-3)
        if self.head.bias is not None:
            nn.init.zeros_(self.head.bias)
        if weights is not None:
            with weights_for(self.trunk[0], in_channels):
                load_weights(self, weights, [torchvision_key_map()])

    def forward(self, image: Tensor) -> Tensor:
        """Guidance (N, out_channels, ceil(H / 2), ceil(W / 2)) for images (N, in_channels, H, W) from 0 to 1."""
        height, width = (-(-side // STRIDE) for side in image.shape[-2:])
        x = pad_to_multiple(self.colours(image), 32)
        pooled = []
        for place, layer in enumerate(self.trunk):
            x = layer(x)
            if place in POOLS:
                pooled.append(x)
        pooled.pop()  # pool5 itself
        for layer in self.up:
            x = F.interpolate(F.relu(layer(x)), scale_factor=2, mode="bilinear", align_corners=False) + pooled.pop()
        guidance: Tensor = self.head(x)
        return guidance[..., :height, :width]

    def pretrained_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that came with weights, and may learn at a rate of their own."""
        return self.trunk.parameters()
