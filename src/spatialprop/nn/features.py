"""What stands between a segmenter's features and whatever else is read from them."""

from torch import nn

from spatialprop.ops.contract import is_integer

GROUPS = 4


def reduced(in_channels: int, width: int, kernel: int = 1) -> nn.Sequential:
    """Bring features to `width` channels, a multiple of 4, of the same size whatever the network that they come from.

    Those of one network are a hundred times as large as another's, and what is read from them must not care.
    """
    if not is_integer(width) or width < GROUPS or width % GROUPS:
        raise ValueError(f"width must be a multiple of {GROUPS}; got {width!r}")
    convolution = nn.Conv2d(in_channels, width, kernel, padding=kernel // 2)
    return nn.Sequential(convolution, nn.GroupNorm(GROUPS, width), nn.ReLU())
