"""A job of SLURM, as far as it can be told without one; tests/examples/test_slurm_cluster.py has more."""

import signal

import pytorch_lightning as pl

from spatialprop.experiment.parts import make_trainer
from tests.experiment.tiny import QUIET, composed, tiny_here
from tests.tasks.tiny import TASKS, loader

pytestmark = QUIET
JOB = {"NTASKS": "1", "JOB_ID": "7", "JOB_NAME": "train", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}


def test_no_signal_writes_a_checkpoint_in_the_middle_of_a_step(monkeypatch):
    for name, value in JOB.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    handlers = []

    class Handlers(pl.Callback):
        def on_train_start(self, trainer, module):
            handlers.append(signal.getsignal(signal.SIGUSR1))

    config = composed("train", *tiny_here("trainer.max_epochs=1", "trainer.log_every_n_steps=1"))
    trainer = make_trainer(config, callbacks=[Handlers()], logger=False, enable_checkpointing=False)
    trainer.fit(TASKS["segment"](), loader(batch_size=2), loader(batch_size=1))
    assert handlers == [signal.SIG_DFL]
