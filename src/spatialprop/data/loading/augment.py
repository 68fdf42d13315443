"""Random flips of image, label and coarse map, and random colours of the image."""

import os
import random

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or every import asks the network for a newer version

import albumentations
import numpy as np
from numpy.typing import NDArray


class Augment:
    """Mirror a sample and shift its colours.

    Every sample has its own seed: the random state of albumentations ignores the global seed, and repeats itself in
    each worker and epoch.

    Args:
        flip: Probability of a left-right mirror image.
        vertical_flip: Probability of an upside-down one.
        colour: Probability of other brightness, contrast, saturation and hue.
        blur: Probability of a slight blur.
        noise: Probability of sensor noise.

    Example:
        >>> image, label = np.zeros((4, 4, 3), np.uint8), np.eye(4, dtype=np.uint8)
        >>> image, label, coarse = Augment(flip=1, colour=0)(image, label, None, seed=0)
        >>> label[0]
        array([0, 0, 0, 1], dtype=uint8)
    """

    def __init__(
        self, flip: float = 0.5, vertical_flip: float = 0.0, colour: float = 0.5, blur: float = 0.0, noise: float = 0.0
    ) -> None:
        self.flip = flip
        self.vertical_flip = vertical_flip
        self._colours = albumentations.Compose(
            [
                albumentations.ColorJitter(
                    brightness=(0.7, 1.3), contrast=(0.7, 1.3), saturation=(0.7, 1.3), hue=(-0.05, 0.05), p=colour
                ),
                albumentations.GaussianBlur(blur_limit=(3, 5), p=blur),
                albumentations.GaussNoise(std_range=(0.01, 0.04), p=noise),
            ]
        )

    def __call__(
        self,
        image: NDArray[np.uint8],
        label: NDArray[np.uint8],
        coarse: NDArray[np.float32] | None,
        seed: int,
        in_mirror: NDArray[np.uint8] | None = None,
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32] | None]:
        """Augment an image (h, w, 3), its label (h, w) and its coarse map (K, h, w) alike.

        `in_mirror` (256,) is the label in a left-right mirror image of each label: a left eye becomes a right one.
        """
        rng = np.random.default_rng(seed)
        # Slices, not albumentations: OpenCV 5 flips no more than 128 classes.
        down = slice(None, None, -1 if rng.random() < self.vertical_flip else 1)
        across = slice(None, None, -1 if rng.random() < self.flip else 1)
        # One state for all: `set_random_seed` would give every transform the same draws, and all would act at once.
        self._colours.set_random_state(rng, random.Random(seed))
        # Copies, not `ascontiguousarray`: that leaves a side of one pixel its negative stride, which torch refuses.
        image = self._colours(image=image[down, across].copy())["image"]
        label, coarse = label[down, across], None if coarse is None else coarse[:, down, across]
        if across.step == -1 and in_mirror is not None:
            label = in_mirror[label]
            coarse = None if coarse is None else coarse[in_mirror[: len(coarse)]]
        return image, label.copy(), None if coarse is None else coarse.copy()
