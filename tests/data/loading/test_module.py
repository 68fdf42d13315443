"""What Lightning gets: the same batches at any number of workers, each process its share, after a stop the rest."""

import copy
import zlib
from types import SimpleNamespace

import cv2
import joblib
import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from spatialprop.data import Augment, Example, LabelSet, SquarePatches, WholeImages, folder
from spatialprop.data.loading.module import DataModule
from tests.data.tiny_folder import write_tiny_folder

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),  # of a process that has threads
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*your dataloader is not resumable"),  # it cannot know that ours is
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec."),  # Lightning with the newest torch
]


class Recorder(pl.LightningModule):
    """Trains next to nothing and remembers what it was given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.course, self.tested = [], []

    def training_step(self, batch, batch_idx):
        tensors = (batch[key] for key in ("image", "label", "coarse"))
        self.course.append((*batch["name"], *(zlib.crc32(tensor.numpy().tobytes()) for tensor in tensors)))
        return self.weight.sum()

    def validation_step(self, batch, batch_idx):
        pass

    def test_step(self, batch, batch_idx):
        self.tested += batch["name"]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    return folder(root=str(write_tiny_folder(tmp_path_factory.mktemp("discs"), images=6)))


def data(splits, **options):
    settings = {"seed": 1, "batch_size": 4, "per_image": 2, "with_coarse": True, **options}
    return DataModule(splits, SquarePatches(16, multi_label=True), Augment(), **settings)


def trainer(folder, **options):
    return pl.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        **options,
    )


def course_of(folder, module, **options):
    recorder = Recorder()
    trainer(folder, **options).fit(recorder, module)
    return recorder.course


def test_epochs_differ_and_do_not_depend_on_the_workers(splits, tmp_path):
    course = course_of(tmp_path, data(splits), max_epochs=3)
    assert len(course) == 9  # 12 patches an epoch in batches of 4
    assert len(set(course)) == 9
    for workers in (1, 2):
        assert course_of(tmp_path, data(splits, workers=workers), max_epochs=3) == course
    assert course_of(tmp_path, data(splits, seed=2), max_epochs=3) != course


class KilledError(Exception):
    pass


class KillAfter(pl.Callback):
    def __init__(self, batches, checkpoint):
        self.batches, self.checkpoint = batches, checkpoint

    def on_train_batch_end(self, trainer, module, *_):
        if len(module.course) == self.batches:
            trainer.save_checkpoint(self.checkpoint, weights_only=False)
            raise KilledError


@pytest.mark.parametrize(("done", "workers"), [(1, 0), (2, 2), (5, 0)])
def test_goes_on_after_a_stop_with_the_batch_that_is_due(splits, tmp_path, workers, done):
    course = course_of(tmp_path, data(splits), max_epochs=3)
    checkpoint = tmp_path / "stopped.ckpt"
    stopped, resumed = Recorder(), Recorder()
    with pytest.raises(KilledError):
        trainer(tmp_path, max_epochs=3, callbacks=[KillAfter(done, checkpoint)]).fit(
            stopped, data(splits, workers=workers)
        )
    trainer(tmp_path, max_epochs=3).fit(resumed, data(splits, workers=workers), ckpt_path=checkpoint, weights_only=True)
    assert (stopped.course, resumed.course) == (course[:done], course[done:])


class CountsThreads:
    """Examples that ask OpenCV how many threads it would start."""

    labels = LabelSet("threads", ("one", "another"))
    names = ("only",)

    def __len__(self):
        return 1

    def __getitem__(self, index):
        label = np.full((8, 8), cv2.getNumThreads(), np.uint8)
        return Example("only", np.zeros((8, 8, 3), np.uint8), label)


def test_opencv_starts_no_threads_in_workers(splits):
    """Each worker would start as many as there are cores."""
    one = splits._replace(train=CountsThreads(), val=CountsThreads(), test=CountsThreads())
    module = DataModule(one, WholeImages(), Augment(), seed=1, batch_size=1, workers=1)
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        for loader in (module.train_dataloader(), module.val_dataloader(), module.test_dataloader()):
            (batch,) = loader
            assert batch["label"].unique().tolist() == [1]
    finally:
        cv2.setNumThreads(before)


def test_images_that_are_kept_give_the_same_batches_and_are_read_once(splits, tmp_path):
    read = []

    class Noted(type(splits.train)):
        def __getitem__(self, index):
            read.append(index)
            return super().__getitem__(index)

    noted = copy.copy(splits.train)
    noted.__class__ = Noted
    kept = data(splits._replace(train=noted), memory=1)
    assert course_of(tmp_path, kept, max_epochs=2) == course_of(tmp_path, data(splits), max_epochs=2)
    assert sorted(read) == list(range(6))


def test_repeated_batches(splits, tmp_path):
    course = course_of(tmp_path, data(splits, repeat_batches=2, workers=1), max_epochs=3)
    assert course == course[:2] * 3
    assert course[0] != course[1]


def test_making_loaders_leaves_the_networks_chance_alone(splits):
    module = data(splits)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    for loader in (module.train_dataloader(), module.val_dataloader(), module.test_dataloader()):
        next(iter(loader))
    assert torch.equal(torch.rand(3), expected)


def test_whole_images_come_one_at_a_time_and_in_order(splits, tmp_path):
    recorder = Recorder()
    trainer(tmp_path).test(recorder, data(splits, workers=2), verbose=False)
    assert recorder.tested == list(splits.test.names)
    batch = next(iter(data(splits).val_dataloader()))
    assert batch["image"].shape == (1, 3, 40, 56)
    assert batch["coarse"].shape == (1, 4, 40, 56)
    assert "coarse" not in next(iter(data(splits, with_coarse=False).val_dataloader()))


@pytest.mark.slow
def test_workers_start_in_a_process_of_joblib(splits):
    # Whose way to start processes is the default there, and fails for those of others.
    def first_name():
        module = DataModule(splits, WholeImages(), Augment(), seed=1, batch_size=1, workers=1)
        return next(iter(module.val_dataloader()))["name"]

    assert joblib.Parallel(n_jobs=2)([joblib.delayed(first_name)()] * 2) == [[splits.val.names[0]]] * 2


@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_the_images_and_the_patches(splits, world):
    tested, trained = [], []
    for rank in range(world):
        module = data(splits, batch_size=1)
        module.trainer = SimpleNamespace(
            global_rank=rank, world_size=world, limit_train_batches=1.0, fit_loop=SimpleNamespace(total_batch_idx=-1)
        )
        tested += [name for batch in module.test_dataloader() for name in batch["name"]]
        trained += [batch["image"].numpy().tobytes() for batch in module.train_dataloader()]
    assert sorted(tested) == sorted(splits.test.names)
    assert len(set(trained)) == len(trained) == 12
