"""The data loaders for Lightning."""

import multiprocessing
from collections.abc import Callable
from typing import Any

import cv2
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from spatialprop.data.coarse import DegradeCoarse, RoughTruth
from spatialprop.data.example import Splits
from spatialprop.data.loading.augment import Augment
from spatialprop.data.loading.batches import ProcessShare, ShuffledBatches, collate
from spatialprop.data.loading.in_memory import InMemory
from spatialprop.data.loading.patches import Patches
from spatialprop.data.loading.samples import TrainingPatches, WholeSamples


class DataModule(pl.LightningDataModule):
    """Augmented patches to train on, whole images one at a time to validate and test on.

    Args:
        splits: The data.
        patches: Chooses the patches.
        augment: Augments them.
        seed: Fixes order, patches and augmentation.
        batch_size: Patches in a batch, on each process.
        per_image: Patches of each image in an epoch.
        workers: Processes that make samples; 0 makes them in the training process.
        repeat_batches: Train on this number of first batches again and again, None for all batches.
        with_coarse: Whether samples hold the coarse map.
        degrade: Worsens the coarse maps of patches; None leaves them as they are.
        rough: Replaces some coarse maps by rough masks made from the truth; None replaces none.
        most_classes: Classes of a patch that stay apart, see `merge_classes`; None for all.
        memory: Megabytes of training images that each process keeps in memory, so that they are read or drawn once.
    """

    def __init__(
        self,
        splits: Splits,
        patches: Patches,
        augment: Augment,
        *,
        seed: int,
        batch_size: int,
        per_image: int = 1,
        workers: int = 0,
        repeat_batches: int | None = None,
        with_coarse: bool = False,
        degrade: DegradeCoarse | None = None,
        rough: RoughTruth | None = None,
        most_classes: int | None = None,
        memory: int = 0,
    ) -> None:
        super().__init__()
        self.collate: Callable[[Any], object] = collate
        self.splits = splits
        self.batch_size = batch_size
        self.seed = seed
        self.workers = workers
        self.repeat_batches = repeat_batches
        self.with_coarse = with_coarse
        self.training = TrainingPatches(
            InMemory(splits.train, memory),
            patches,
            augment,
            seed=seed,
            per_image=per_image,
            with_coarse=with_coarse,
            degrade=degrade,
            rough=rough,
            most_classes=most_classes if with_coarse else None,
        )

    def train_dataloader(self) -> DataLoader[Any]:
        batches = ShuffledBatches(
            len(self.training),
            self.batch_size,
            seed=self.seed,
            steps_done=self._batches_done,
            repeat=self.repeat_batches,
            limit=self._limit(),
            **self._share(),
        )
        return self._loader(self.training, batch_sampler=batches)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._whole(WholeSamples(self.splits.val, self.with_coarse))

    def test_dataloader(self) -> DataLoader[Any]:
        return self._whole(WholeSamples(self.splits.test, self.with_coarse))

    def _whole(self, samples: WholeSamples) -> DataLoader[Any]:
        return self._loader(samples, batch_size=1, sampler=ProcessShare(len(samples), **self._share()))

    def _loader(self, samples: Any, **batching: Any) -> DataLoader[Any]:
        return DataLoader(
            samples,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            collate_fn=self.collate,
            worker_init_fn=_one_thread,
            multiprocessing_context=_start_method() if self.workers else None,
            pin_memory=torch.cuda.is_available(),
            # A generator of its own, or making an iterator would advance the one that the network draws from.
            generator=torch.Generator().manual_seed(self.seed),
            **batching,
        )

    def _batches_done(self) -> int:
        return 0 if self.trainer is None else self.trainer.fit_loop.total_batch_idx + 1

    def _limit(self) -> int | None:
        # Lightning ends an epoch there; unless the batches do too, it would not be clear where the next one begins.
        limit = 1.0 if self.trainer is None else self.trainer.limit_train_batches
        if isinstance(limit, float) and limit != 1.0:
            raise ValueError(
                f"trainer.limit_train_batches must be a whole number of batches, or 1.0 for all; got {limit}"
            )
        return limit if isinstance(limit, int) else None

    def _share(self) -> dict[str, int]:
        if self.trainer is None:
            return {"rank": 0, "world": 1}
        return {"rank": self.trainer.global_rank, "world": self.trainer.world_size}


def _start_method() -> str | None:
    # In a process that joblib has started the default is joblib's own way, which only its own processes can take.
    known = multiprocessing.get_all_start_methods()  # the platform's default comes first
    chosen = multiprocessing.get_start_method(allow_none=True)
    return chosen if chosen is None or chosen in known else known[0]


def _one_thread(worker: int) -> None:
    # OpenCV would start as many threads as there are cores in every worker.
    cv2.setNumThreads(0)
