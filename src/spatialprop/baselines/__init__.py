"""What a user would mend a segmentation with today: an image and coarse probabilities in, labels out."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatialprop.baselines.densecrf import DenseCRF
from spatialprop.baselines.guided_filter import GuidedFilter

Baseline = Callable[[NDArray[np.uint8], NDArray[np.float32]], NDArray[np.integer[Any]]]

BASELINES: dict[str, Callable[[], Baseline]] = {"densecrf": DenseCRF, "guided_filter": GuidedFilter}


def installed() -> list[str]:
    """Names of the baselines that can run here without further packages."""
    return ["densecrf"] if find_spec("pydensecrf") else []


def make(name: str) -> Baseline:
    """The baseline of a name, at its usual settings."""
    if name not in BASELINES:
        raise ValueError(f"unknown baseline {name!r}; choose from {', '.join(BASELINES)}")
    return BASELINES[name]()
