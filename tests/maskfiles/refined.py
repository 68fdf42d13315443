"""Stand-ins for what the refiner makes of a coarse map."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass
class Unchanged:
    """A coarse map that the refiner has left as it was: its labels, or its probabilities."""

    values: NDArray

    @property
    def labels(self):
        return self.values if self.values.ndim == 2 else self.values.argmax(axis=0)

    @property
    def probabilities(self):
        shares = self.values
        if shares.ndim == 2:
            shares = np.eye(int(shares.max()) + 1)[shares].transpose(2, 0, 1)
        return (shares / 255 if shares.dtype == np.uint8 else shares).astype(np.float32)

    @property
    def present(self):
        labels = np.unique(self.values)
        return labels, np.stack([self.values == label for label in labels]).astype(np.float32)
