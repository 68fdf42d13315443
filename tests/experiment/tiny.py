"""Runs that take seconds."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from spatialprop.experiment.overrides import register_resolvers
from tests.fresh import ENVIRONMENT, python

REPOSITORY = Path(__file__).parents[2]

TINY = (
    "data.train=8",
    "data.val=2",
    "data.test=2",
    "data.size=[64,64]",
    "patches.size=32",
    "loader.batch_size=4",
    "loader.per_image=2",
    "loader.workers=0",
    "segmenter.network.width=4",
    "segmenter.fit.max_epochs=2",
    "segmenter.fit.batch_size=4",
    "segmenter.fit.validate_every=1",
    "guidance.network.width=8",
    "trainer.max_epochs=2",
    "trainer.check_val_every_n_epoch=1",
    "callbacks.examples=1",
    "callbacks.progress_bar=false",
    "callbacks.checkpoint_every_n_batches=3",
    "baselines=[]",
)


# In the tests' own process: what the trainer sets for determinism would stay set for the tests that follow.
HERE = ("trainer.deterministic=false", "trainer.log_every_n_steps=1")
QUIET = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),
    pytest.mark.filterwarnings("ignore:.*in eval mode at the start of training"),
]


def command(script: str, *arguments: str) -> list[str]:
    return [sys.executable, str(REPOSITORY / script), *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, **ENVIRONMENT, "WANDB_MODE": "offline", "WANDB_SILENT": "true"}


def run(script: str, *arguments: str, folder: Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a script in `folder`, which gets its outputs."""
    done = python(str(REPOSITORY / script), *arguments, folder=folder, environment=environment(), timeout=600)
    return as_expected(done, expect)


def run_anew(script: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script by an interpreter of its own, whose start and end matter where it starts others."""
    process = subprocess.Popen(
        command(script, *arguments), cwd=folder, env=environment(), start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        said = process.communicate(timeout=600)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGABRT)  # all of them, and each says where it was
        said = process.communicate()
    return as_expected(subprocess.CompletedProcess(arguments, process.returncode, *said), 0)


def as_expected(done: subprocess.CompletedProcess[str], code: int) -> subprocess.CompletedProcess[str]:
    assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def tiny_but(*arguments: str) -> list[str]:
    """The options of a tiny run, without those of groups that are chosen otherwise."""
    chosen = {argument.split("=")[0] for argument in arguments}
    return [option for option in TINY if option.split(".")[0] not in chosen] + list(arguments)


def tiny_here(*arguments: str) -> list[str]:
    """The options of a tiny run in this process."""
    return [*tiny_but(*arguments), *HERE]


def evaluation(*arguments: str) -> list[str]:
    """The options of an evaluation in this process."""
    return ["callbacks.progress_bar=false", "callbacks.examples=1", "workers=0", HERE[0], *arguments]


def scores(metrics: dict[str, Any]) -> dict[str, Any]:
    """Scores without what differs from run to run."""
    return {
        method: {key: value for key, value in of.items() if key != "milliseconds"}
        for method, of in metrics.items()
        if method != "run"  # says when and where they were made
    }


def trained(folder: Path, *arguments: str) -> Path:
    """The folder of a tiny run."""
    return folder / run("train.py", *tiny_but(*arguments), folder=folder).stdout.strip().splitlines()[-1]


def composed(config_name: str, *overrides: str) -> DictConfig:
    """What the command line would compose."""
    register_resolvers()
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        return compose(config_name, list(overrides))
