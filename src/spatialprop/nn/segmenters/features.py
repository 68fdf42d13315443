"""The features of a segmenter, from which gates or affinities are predicted."""

from torch import nn

from spatialprop.ops.contract import is_integer

GROUPS = 4


def reduced(in_channels: int, width: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    """Reduce features to `width` channels, a multiple of 4, and normalise them.

    The features of one segmenter are a hundred times as large as those of another.
    """
    if not is_integer(width) or width < GROUPS or width % GROUPS:
        raise ValueError(f"width must be a multiple of {GROUPS}; got {width!r}")
    convolution = nn.Conv2d(in_channels, width, kernel, stride, padding=kernel // 2)
    return nn.Sequential(convolution, nn.GroupNorm(GROUPS, width), nn.ReLU())
