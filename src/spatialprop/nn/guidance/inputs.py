"""What guidance networks with published weights are shown: RGB, and whatever is stacked on it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from spatialprop.nn.segmenters.pixels import IMAGENET_MEAN, IMAGENET_STD


class Colours(nn.Module):
    """Brings channels from 0 to 1 to the mean and deviation that published weights were trained with.

    The first three of three or more channels are RGB; all others get the mean and deviation of brightness.

    Args:
        channels: Number of channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels < 1:
            raise ValueError(f"in_channels must be at least 1; got {channels}")
        coloured = channels >= 3
        mean, std = ([*(one if coloured else ()), *[sum(one) / 3] * channels] for one in (IMAGENET_MEAN, IMAGENET_STD))
        self.register_buffer("mean", torch.tensor(mean[:channels]).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std[:channels]).view(-1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """The same channels. (N, channels, H, W)"""
        if image.dim() != 4 or image.shape[1] != len(self.mean) or 0 in image.shape:
            raise ValueError(
                f"the guidance is shown (N, {len(self.mean)}, H, W), not empty; got {tuple(image.shape)}: give the "
                f"network in_channels={image.shape[1] if image.dim() == 4 else 'C'}, or the image other channels"
            )
        if not image.is_floating_point():
            raise TypeError(
                f"the guidance is shown floating point from 0 to 1; got {image.dtype}, convert with image.float() / 255"
            )
        return (image - self.mean) / self.std


@contextmanager
def weights_for(first: nn.Module, channels: int) -> Iterator[None]:
    """Let published weights for RGB be loaded into a `first` convolution that is shown other channels.

    While it lasts, the convolution has three channels. Afterwards a single one sees what all three saw together, and
    what comes after RGB starts from nothing.
    """
    assert isinstance(first, nn.Conv2d)
    own = first.weight
    if channels == 3:
        yield
        return
    first.weight = nn.Parameter(own.new_zeros(own.shape[0], 3, *own.shape[2:]))
    yield
    published = first.weight.detach()
    first.weight = own
    with torch.no_grad():
        own.zero_()
        if channels < 3:
            own[:, :1] = published.sum(dim=1, keepdim=True)
        else:
            own[:, :3] = published
