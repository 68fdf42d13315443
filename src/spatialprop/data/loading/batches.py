"""The order in which samples are drawn, and how they become a batch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Sampler

from spatialprop.data.label_set import VOID
from spatialprop.data.loading.samples import Sample, SampleKey


@dataclass(eq=False)
class ShuffledBatches(Sampler[list[SampleKey]]):
    """Batches of sample keys, shuffled anew each epoch; each process gets its share.

    The number of batches trained on, `steps_done`, gives the epoch and the position in it. So training that is resumed
    in the middle of an epoch continues with exactly the next batch.

    Args:
        length: Samples in an epoch.
        batch_size: Samples in a batch; an incomplete batch at the end of an epoch is dropped.
        seed: Fixes the order.
        steps_done: Returns the number of batches since training began.
        rank: This process.
        world: Number of processes; each gets whole batches of its own.
        repeat: Repeat this number of first batches for ever, which a network must be able to overfit.
        limit: Batches in an epoch, None for all.
    """

    length: int
    batch_size: int
    _: KW_ONLY
    seed: int
    steps_done: Callable[[], int]
    rank: int = 0
    world: int = 1
    repeat: int | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1; got {self.batch_size}")
        if self.length < self.batch_size * self.world:
            raise ValueError(
                f"an epoch of {self.length} samples does not fill one batch of {self.batch_size} on {self.world} "
                f"process(es); lower loader.batch_size or raise loader.per_image"
            )

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


class ProcessShare(Sampler[int]):
    """The samples of one process; over all processes each sample comes exactly once, even if shares are uneven."""

    def __init__(self, length: int, rank: int = 0, world: int = 1) -> None:
        self._indices = range(rank, length, world)

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self._indices)


def collate(samples: Sequence[Sample]) -> dict[str, object]:
    """Stack samples, padded to one size at the right and below, where their label is VOID."""
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
