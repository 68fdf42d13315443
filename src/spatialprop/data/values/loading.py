"""From value examples to the tensors that networks take, and the loaders for Lightning."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from spatialprop.data.loading.batches import ProcessShare
from spatialprop.data.loading.module import DataModule
from spatialprop.data.loading.samples import SampleKey
from spatialprop.data.values.example import ValueExample, ValueExamples, ValuePatches, ValueSplits


class ValueSample(TypedDict):
    """The input of a value task: one sample or, in a batch, several."""

    name: str
    group: str
    image: Tensor  # (I, H, W)
    values: Tensor  # (C, H, W)
    confidence: Tensor  # (1, H, W)
    truth: Tensor  # (C, H, W)


@dataclass(eq=False)
class DrawnPatches(Dataset[ValueSample]):
    """Patches to train on; each depends on (seed, epoch, index) alone."""

    patches: ValuePatches
    seed: int

    def __len__(self) -> int:
        return len(self.patches)

    def __getitem__(self, key: SampleKey) -> ValueSample:
        return _sample(self.patches.draw(np.random.default_rng((self.seed, key.epoch, key.index))))


@dataclass(eq=False)
class WholeValues(Dataset[ValueSample]):
    """Images as they are."""

    examples: ValueExamples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> ValueSample:
        return _sample(self.examples[index])


class ValueModule(DataModule):
    """Patches to train on, whole images one at a time to validate and test on; see `DataModule`."""

    def __init__(
        self, splits: ValueSplits, *, seed: int, batch_size: int, workers: int = 0, repeat_batches: int | None = None
    ) -> None:
        super(DataModule, self).__init__()
        self.splits = splits  # type: ignore[assignment]
        self.seed, self.batch_size, self.workers = seed, batch_size, workers
        self.repeat_batches = repeat_batches
        self.training = DrawnPatches(splits.train, seed)  # type: ignore[assignment]
        self.collate = collate_values

    def val_dataloader(self) -> DataLoader[Any]:
        return self._values(self.splits.val)  # type: ignore[arg-type]

    def test_dataloader(self) -> DataLoader[Any]:
        return self._values(self.splits.test)  # type: ignore[arg-type]

    def _values(self, examples: ValueExamples) -> DataLoader[Any]:
        samples = WholeValues(examples)
        return self._loader(samples, batch_size=1, sampler=ProcessShare(len(samples), **self._share()))


def collate_values(samples: Sequence[ValueSample]) -> dict[str, object]:
    """Stack samples of one size."""
    batch: dict[str, object] = {key: [sample[key] for sample in samples] for key in ("name", "group")}
    for key in ("image", "values", "confidence", "truth"):
        batch[key] = torch.stack([sample[key] for sample in samples])
    return batch


def _sample(example: ValueExample) -> ValueSample:
    return {
        "name": example.name,
        "group": example.group,
        "image": torch.from_numpy(example.image),
        "values": torch.from_numpy(example.values),
        "confidence": torch.from_numpy(example.confidence),
        "truth": torch.from_numpy(example.truth),
    }
