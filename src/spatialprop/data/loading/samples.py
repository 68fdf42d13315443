"""From examples to the tensors that networks take."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset, Sampler
from typing_extensions import NotRequired

from spatialprop.data.coarse.degrade import DegradeCoarse
from spatialprop.data.coarse.maps import coarse_map
from spatialprop.data.coarse.rough import RoughTruth
from spatialprop.data.example import VOID, Examples
from spatialprop.data.loading.augment import Augment
from spatialprop.data.loading.patches import Patches, Window


class Sample(TypedDict):
    """What a task trains and tests on, one or, in a batch, several."""

    name: str
    image: Tensor  # (3, H, W), RGB from 0 to 1
    label: Tensor  # (H, W), int64, VOID where nothing counts
    coarse: NotRequired[Tensor]  # (K, H, W), probabilities


@dataclass(frozen=True)
class SampleKey:
    """Names one sample of one epoch, whichever process makes it."""

    epoch: int
    index: int


class TrainingPatches(Dataset[Sample]):
    """Augmented patches, `per_image` of each image an epoch.

    A sample depends on (seed, epoch, index) alone, not on the process that makes it or on what was made before: it is
    the same at any number of workers and after a resume.
    """

    def __init__(
        self,
        examples: Examples,
        patches: Patches,
        augment: Augment,
        *,
        seed: int,
        per_image: int = 1,
        with_coarse: bool = False,
        degrade: DegradeCoarse | None = None,
        rough: RoughTruth | None = None,
        most_classes: int | None = None,
    ) -> None:
        if per_image < 1:
            raise ValueError(f"per_image must be at least 1 patch; got {per_image}")
        if most_classes is not None and most_classes < 2:
            raise ValueError(f"most_classes must be at least 2, or null for all; got {most_classes}")
        self.examples = examples
        self.patches = patches
        self.augment = augment
        self.seed = seed
        self.per_image = per_image
        self.with_coarse = with_coarse
        self.degrade = degrade
        self.rough = rough
        self.most_classes = most_classes
        self._in_mirror = examples.labels.in_mirror if examples.labels.mirrored else None

    def __len__(self) -> int:
        return len(self.examples) * self.per_image

    def __getitem__(self, key: SampleKey) -> Sample:
        example = self.examples[key.index % len(self.examples)]
        rng = np.random.default_rng((self.seed, key.epoch, key.index))
        window = self.patches.choose(example.label, rng)
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
        in_mirror = None if self.most_classes is not None else self._in_mirror
        return _sample(example.name, *self.augment(image, label, coarse, seed, in_mirror))


class WholeSamples(Dataset[Sample]):
    """Images as they are, with their coarse maps at full size."""

    def __init__(self, examples: Examples, with_coarse: bool = False) -> None:
        self.examples = examples
        self.with_coarse = with_coarse

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


def crop_image(image: NDArray[np.uint8], window: Window, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The window of an image at `size` (h, w); beyond the image's end its edge goes on."""
    part = _cut(image, window, cv2.BORDER_REPLICATE)
    if part.shape[:2] == size:
        return part
    shrinks = size[0] < part.shape[0]
    return _as_bytes(cv2.resize(part, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR))


def crop_label(label: NDArray[np.uint8], window: Window, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The window of a label map at `size` (h, w); beyond the image's end is VOID."""
    part = _cut(label, window, cv2.BORDER_CONSTANT)
    if part.shape == size:
        return part
    return _as_bytes(cv2.resize(part, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT))


def crop_coarse(
    coarse: NDArray[np.uint8], image_size: Sequence[int], window: Window, size: tuple[int, int]
) -> NDArray[np.float32]:
    """The window of a coarse map (K, h', w'), which covers the whole image, as probabilities at `size` (h, w).

    Bilinear between half-pixel centres: a window of the enlarged map, without enlarging the map.
    """
    rows, covered_rows = _sources(window.top, window.height, size[0], image_size[0], coarse.shape[1])
    columns, covered_columns = _sources(window.left, window.width, size[1], image_size[1], coarse.shape[2])
    grid = torch.stack([columns.expand(size), rows[:, None].expand(size)], dim=-1)  # (h, w, 2)
    covered = torch.from_numpy(coarse[:, covered_rows, covered_columns].astype(np.float32))
    sampled = F.grid_sample(covered[None], grid[None], mode="bilinear", padding_mode="border", align_corners=True)
    probabilities = sampled[0] / sampled[0].sum(dim=0, keepdim=True).clamp_min(1)  # bytes do not add up to 255
    array: NDArray[np.float32] = probabilities.numpy()
    return array


def merge_classes(
    label: NDArray[np.uint8], coarse: NDArray[np.uint8], image_size: Sequence[int], window: Window, count: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The label of a window (h, w) and the coarse map (K, h', w') with `count` classes, whatever they were.

    The classes that cover most of the window, by label and coarse map together, stay apart, the largest first; all
    others become one. What is trained on such samples cannot depend on what the classes are or on how many.
    """
    shares = np.bincount(label[label != VOID], minlength=len(coarse)) / label.size
    _, rows = _sources(window.top, window.height, window.height, image_size[0], coarse.shape[1])
    _, columns = _sources(window.left, window.width, window.width, image_size[1], coarse.shape[2])
    shares = shares + coarse[:, rows, columns].mean(axis=(1, 2)) / 255
    apart = np.argsort(-shares, kind="stable")[: count - 1]
    merged = np.zeros((count, *coarse.shape[1:]), np.uint8)
    merged[: len(apart)] = coarse[apart]
    merged[-1] += np.delete(coarse, apart, axis=0).sum(axis=0, dtype=np.int32).clip(max=255).astype(np.uint8)
    new = np.full(256, count - 1, np.uint8)
    new[apart] = np.arange(len(apart))
    new[VOID] = VOID
    return new[label], merged


def _sources(start: int, length: int, count: int, extent: int, cells: int) -> tuple[Tensor, slice]:
    """Where `count` pixels that share `length` of `extent` image pixels lie among `cells` that cover the image.

    Gives the cells that they lie between, and their places with the first of these at -1 and the last at 1.
    """
    centres = start + (torch.arange(count, dtype=torch.float64) + 0.5) * (length / count)
    places = (centres * (cells / extent) - 0.5).clamp(0, cells - 1)
    first, last = int(places[0]), min(int(places[-1]) + 1, cells - 1)
    return ((places - first) * (2 / max(1, last - first)) - 1).float(), slice(first, last + 1)


def _cut(array: NDArray[np.uint8], window: Window, border: int) -> NDArray[np.uint8]:
    part = array[window.top : window.top + window.height, window.left : window.left + window.width]
    below, right = window.height - part.shape[0], window.width - part.shape[1]
    if below or right:
        return _as_bytes(cv2.copyMakeBorder(part, 0, below, 0, right, border, value=VOID))
    return part


def _as_bytes(array: object) -> NDArray[np.uint8]:
    return np.asarray(array, np.uint8)


class ShuffledBatches(Sampler[list[SampleKey]]):
    """Batches of keys, shuffled anew each epoch, of which one process takes its share.

    Where iteration begins is asked for, not remembered: `steps_done` says how many batches have been trained on, and
    from that follow the epoch and the place in it. So a resume in the middle of an epoch goes on with the very batch
    that was due.

    Args:
        length: Samples in an epoch.
        batch_size: Samples in a batch; what is left over at an epoch's end is left out.
        seed: Fixes the order.
        steps_done: Tells how many batches have been done since training began.
        rank: This process.
        world: Number of processes; each gets whole batches of its own.
        repeat: Give the first so many batches again and again: what a network must be able to learn by heart.
        limit: An epoch ends after so many batches, None after all.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        *,
        seed: int,
        steps_done: Callable[[], int],
        rank: int = 0,
        world: int = 1,
        repeat: int | None = None,
        limit: int | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1; got {batch_size}")
        if length < batch_size * world:
            raise ValueError(
                f"an epoch of {length} samples does not fill one batch of {batch_size} on {world} process(es); "
                f"lower loader.batch_size or raise loader.per_image"
            )
        self.length = length
        self.batch_size = batch_size
        self.seed = seed
        self.steps_done = steps_done
        self.rank = rank
        self.world = world
        self.repeat = repeat
        self.limit = limit

    def __len__(self) -> int:
        full = self.length // (self.batch_size * self.world)
        return min(count for count in (full, self.repeat, self.limit) if count is not None)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        epoch, first = divmod(self.steps_done(), len(self))
        if self.repeat is not None:
            epoch = 0
        order = np.random.default_rng((self.seed, epoch)).permutation(self.length)
        for step in range(first, len(self)):
            start = (step * self.world + self.rank) * self.batch_size
            yield [SampleKey(epoch, int(index)) for index in order[start : start + self.batch_size]]


class Share(Sampler[int]):
    """Every sample exactly once over all processes, none repeated to make the shares even."""

    def __init__(self, length: int, rank: int = 0, world: int = 1) -> None:
        self._indices = range(rank, length, world)

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self._indices)


def collate(samples: Sequence[Sample]) -> dict[str, object]:
    """Stack samples; smaller ones are filled up at the right and below, where their label is VOID."""
    height = max(sample["label"].shape[0] for sample in samples)
    width = max(sample["label"].shape[1] for sample in samples)

    def filled(tensor: Tensor, value: float) -> Tensor:
        missing = (0, width - tensor.shape[-1], 0, height - tensor.shape[-2])
        return F.pad(tensor, missing, value=value) if any(missing) else tensor

    batch: dict[str, object] = {
        "name": [sample["name"] for sample in samples],
        "image": torch.stack([filled(sample["image"], 0.0) for sample in samples]),
        "label": torch.stack([filled(sample["label"], VOID) for sample in samples]),
    }
    if "coarse" in samples[0]:
        # Beyond the image every class is equally likely, so that nothing there looks certain.
        fill = 1 / samples[0]["coarse"].shape[0]
        batch["coarse"] = torch.stack([filled(sample["coarse"], fill) for sample in samples])
    return batch
