"""Arrays out of what users hold."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def as_array(given: Any) -> NDArray[Any]:
    """An array of what NumPy takes, or of a tensor: from any device, and whether it has a gradient or not."""
    return np.asarray(given.detach().cpu() if isinstance(given, torch.Tensor) else given)
