"""A job of SLURM, as far as it can be told without one; tests/examples/test_slurm_cluster.py has more."""

import signal

import pytest
import pytorch_lightning as pl

from spatialprop.experiment.parts import make_trainer
from tests.experiment.tiny import QUIET, composed, tiny_here
from tests.tasks.tiny import TASKS, loader

pytestmark = QUIET
JOB = {"NTASKS": "1", "JOB_ID": "7", "JOB_NAME": "train", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}


@pytest.fixture
def _in_a_job(monkeypatch):
    for name, value in JOB.items():
        monkeypatch.setenv(f"SLURM_{name}", value)


@pytest.mark.usefixtures("_in_a_job")
def test_torchrun_keeps_its_own_numbers_in_a_job(monkeypatch):
    given = []
    monkeypatch.setattr(pl, "Trainer", lambda **options: given.append(options))
    make_trainer(composed("train"), callbacks=[])
    for name in ("RANK", "GROUP_RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID"):
        monkeypatch.setenv(name, "0")
    make_trainer(composed("train"), callbacks=[])
    assert ["plugins" in options for options in given] == [True, False]


@pytest.mark.usefixtures("_in_a_job")
def test_no_signal_writes_a_checkpoint_in_the_middle_of_a_step():
    handlers = []

    class Handlers(pl.Callback):
        def on_train_start(self, trainer, module):
            handlers.append(signal.getsignal(signal.SIGUSR1))

    config = composed("train", *tiny_here("trainer.max_epochs=1", "trainer.log_every_n_steps=1"))
    trainer = make_trainer(config, callbacks=[Handlers()], logger=False, enable_checkpointing=False)
    trainer.fit(TASKS["segment"](), loader(batch_size=2), loader(batch_size=1))
    assert handlers == [signal.SIG_DFL]
