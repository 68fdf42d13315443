"""From examples to the tensors that networks take."""

from dataclasses import KW_ONLY, dataclass
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from typing_extensions import NotRequired

from spatialprop.data.coarse import DegradeCoarse, RoughTruth, coarse_map
from spatialprop.data.example import Example, Examples
from spatialprop.data.loading.augment import Augment
from spatialprop.data.loading.crops import crop_coarse, crop_image, crop_label, merge_classes
from spatialprop.data.loading.patches import Patches, Window


class Sample(TypedDict):
    """The input of a task: one sample or, in a batch, several."""

    name: str
    image: Tensor  # (3, H, W), RGB from 0 to 1
    label: Tensor  # (H, W), int64, VOID where nothing counts
    coarse: NotRequired[Tensor]  # (K, H, W), probabilities


@dataclass(frozen=True)
class SampleKey:
    """Names one sample of one epoch, whichever process makes it."""

    epoch: int
    index: int


@dataclass(eq=False)
class TrainingPatches(Dataset[Sample]):
    """Augmented patches, `per_image` of each image an epoch.

    A sample depends on (seed, epoch, index) alone, not on the process that makes it or on earlier samples: it is
    the same at any number of workers and after a resume.
    """

    examples: Examples
    patches: Patches
    augment: Augment
    _: KW_ONLY
    seed: int
    per_image: int = 1
    with_coarse: bool = False
    degrade: DegradeCoarse | None = None
    rough: RoughTruth | None = None
    most_classes: int | None = None

    def __post_init__(self) -> None:
        if self.per_image < 1:
            raise ValueError(f"per_image must be at least 1 patch; got {self.per_image}")
        if self.most_classes is not None and self.most_classes < 2:
            raise ValueError(f"most_classes must be at least 2, or null for all; got {self.most_classes}")
        labels = self.examples.labels
        self._in_mirror = labels.in_mirror if labels.mirrored and self.most_classes is None else None

    def __len__(self) -> int:
        return len(self.examples) * self.per_image

    def __getitem__(self, key: SampleKey) -> Sample:
        rng = np.random.default_rng((self.seed, key.epoch, key.index))
        example, window = self._choose(key.index, rng)
        size = self.patches.output_size(window)
        image = crop_image(example.image, window, size)
        label = crop_label(example.label, window, size)
        coarse = None
        if self.with_coarse:
            whole = coarse_map(example)
            if self.most_classes is not None:  # before they are degraded, which takes as long as there are classes
                label, whole = merge_classes(label, whole, example.label.shape, window, self.most_classes)
            if self.degrade is not None:
                whole = self.degrade(whole, rng)
            coarse = crop_coarse(whole, example.label.shape, window, size)
            if self.rough is not None:
                coarse = self.rough(coarse, label, rng)
        seed = int(rng.integers(2**31))
        return _sample(example.name, *self.augment(image, label, coarse, seed, self._in_mirror))

    def _choose(self, index: int, rng: np.random.Generator) -> tuple[Example, Window]:
        """The image of a sample and its window; the next image that has one, where that one has none."""
        for place in range(len(self.examples)):
            example = self.examples[(index + place) % len(self.examples)]
            window = self.patches.choose(example.label, rng)
            if window is not None:
                return example, window
        raise ValueError("no training image has a patch of more than one label: set patches.skip_uniform=false")


@dataclass(eq=False)
class WholeSamples(Dataset[Sample]):
    """Images as they are, with their coarse maps at full size."""

    examples: Examples
    with_coarse: bool = False

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Sample:
        example = self.examples[index]
        coarse = None
        if self.with_coarse:
            size = example.label.shape
            coarse = crop_coarse(coarse_map(example), size, Window(0, 0, *size), (size[0], size[1]))
        return _sample(example.name, example.image, example.label, coarse)


def _sample(
    name: str, image: NDArray[np.uint8], label: NDArray[np.uint8], coarse: NDArray[np.float32] | None
) -> Sample:
    sample: Sample = {
        "name": name,
        "image": torch.from_numpy(image.transpose(2, 0, 1).copy()).float().div_(255),
        "label": torch.from_numpy(label.astype(np.int64)),
    }
    if coarse is not None:
        sample["coarse"] = torch.from_numpy(coarse)
    return sample
