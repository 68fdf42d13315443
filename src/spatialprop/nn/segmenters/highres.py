"""The face parser of the paper that works at full resolution."""

from itertools import pairwise

from torch import Tensor, nn

from spatialprop.nn.resize import pad_to_multiple
from spatialprop.nn.segmenters.pixels import check_image
from spatialprop.nn.segmenters.unet import down_and_up
from spatialprop.nn.segmenters.vgg import conv, score

CHANNELS = (16, 16, 16, 32, 64, 128, 256, 512)


class HighRes(nn.Module):
    """Segment an image at its full resolution, made for faces of 1024 x 1024.

    It is the paper's baseline with three more modules of 16 channels at each end: eight times conv + relu + max-pool
    down to a 256th, as often up again by bilinear upsampling, with the maps of the same size on both sides summed. The
    last of the convolutions on the way up gives the logits.

    3,155,467 parameters with 11 classes. The baseline, five modules at each end, has 3,138,955, the 12 MB that the
    paper gives; three more at each end change its outermost convolutions (-896 - 3,179 + 448 + 1,595) and add
    18,544.

    Args:
        num_classes: Number of classes K.

    Example:
        >>> import torch
        >>> HighRes(11)(torch.rand(1, 3, 47, 63)).shape
        torch.Size([1, 11, 47, 63])
    """

    stride = feature_stride = 1
    feature_channels = CHANNELS[0]

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            conv(before, after, 3, padding=1) for before, after in zip((3, *CHANNELS), CHANNELS, strict=False)
        )
        self.up = nn.ModuleList(conv(before, after, 3, padding=1) for before, after in pairwise(CHANNELS[::-1]))
        self.classifier = score(CHANNELS[0], num_classes, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, K, H, W) of RGB images (N, 3, H, W) from 0 to 1."""
        return self.forward_with_features(image)[0]

    def forward_with_features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The logits, and the last map before the classifier (N, feature_channels, H, W)."""
        check_image(image)
        height, width = image.shape[-2:]
        x = (pad_to_multiple(image, 1 << len(CHANNELS)) - 0.5) / 0.25
        x = down_and_up(x, self.down, self.up)[..., :height, :width]
        return self.classifier(x), x
