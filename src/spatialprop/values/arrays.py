"""Arrays out of what users hold."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spatialprop.refiner import dense


def as_array(given: Any, what: str) -> NDArray[Any]:
    """An array of what NumPy takes, or of a tensor: from any device, and whether it has a gradient or not."""
    if not isinstance(given, torch.Tensor):
        return np.asarray(given)
    values = dense(given, what).cpu().resolve_neg()  # of the imaginary part of a conjugate
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
