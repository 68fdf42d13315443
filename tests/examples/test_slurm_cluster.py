"""The commands of docs/scaling.md on a SLURM cluster of two nodes, on this machine."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.experiment.tiny import REPOSITORY, TINY, environment, scores

PATHS = f"{os.environ['PATH']}:/usr/sbin"  # where Debian has the daemons
MISSING = [name for name in ("munged", "slurmctld", "slurmd", "srun") if not shutil.which(name, path=PATHS)]
needs_slurm = pytest.mark.skipif(
    bool(MISSING), reason=f"needs SLURM (apt-get install slurm-wlm): no {', '.join(MISSING)}"
)

SCRIPT = REPOSITORY / "examples" / "slurm_cluster.sh"
GUIDE = (REPOSITORY / "docs" / "scaling.md").read_text()
ON_CPU = ("trainer.accelerator=cpu", "trainer.precision=32-true")
# Long enough to be stopped in the middle: SLURM takes seconds to do so. 12 batches an epoch, a checkpoint every 3.
OPTIONS = (*TINY, "loader.batch_size=2", "loader.per_image=6", "trainer.max_epochs=15", *ON_CPU)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Runs a command in a folder, on the cluster."""
    folder = tmp_path_factory.mktemp("cluster")
    variables = {**environment(), "PORT": "17917", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    said = subprocess.run(
        [SCRIPT, "start", folder], env=variables, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    variables["SLURM_CONF"] = re.fullmatch(r"export SLURM_CONF='(.*)'\n", said)[1]

    def run(*command, at):
        done = subprocess.run(command, cwd=at, env=variables, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    yield run
    subprocess.run([SCRIPT, "stop", folder], env=variables, check=True)


def as_written(part, processes=1):
    """The lines of the block of the guide that has this part, with so many processes a node, small and on CPUs."""
    (block,) = (block for block in re.findall(r"(?:^    .*\n)+", GUIDE, re.MULTILINE) if part in block)
    lines = [line.removeprefix("    ") for line in block.splitlines()]
    options = f"{REPOSITORY / 'train.py'} {' '.join(OPTIONS)}"  # first, so that what is written holds
    return [re.sub(r"=4\b", f"={processes}", line).replace("train.py", options) for line in lines]


def finished(run, job, at):
    for _ in range(1200):
        state = run("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T", at=at).strip()
        if state not in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "REQUEUED"):
            assert state == "COMPLETED", "\n".join(path.read_text() for path in at.glob("slurm-*.out"))
            return
        time.sleep(0.5)
    raise TimeoutError(f"job {job} is {state}")


def results(folder):
    return load_file(folder / "checkpoints" / "network.safetensors"), scores(
        json.loads((folder / "metrics.json").read_text())
    )


@pytest.mark.skipif(not MISSING, reason="SLURM is installed")
def test_who_lacks_slurm_is_told_what_to_install(tmp_path):
    failed = subprocess.run([SCRIPT, "start", tmp_path], capture_output=True, text=True)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr == f"{MISSING[0]} is missing: apt-get install slurm-wlm\n"


@needs_slurm
def test_a_folder_with_files_of_others_is_left_alone(tmp_path):
    (tmp_path / "state").mkdir()
    failed = subprocess.run([SCRIPT, "start", tmp_path], capture_output=True, text=True)
    assert failed.returncode == 1
    assert "must be a new folder" in failed.stderr
    assert (tmp_path / "state").is_dir()


@pytest.mark.slow
@needs_slurm
def test_a_job_on_two_nodes_that_is_requeued_ends_like_one_that_is_not(cluster, tmp_path):
    script = "\n".join(as_written("#SBATCH --requeue"))
    assert script.count("srun python") == 1
    for name in ("whole", "requeued"):
        (tmp_path / f"{name}.sh").write_text(script.replace("NAME", name) + "\n")
    whole, requeued = (tmp_path / "outputs" / "refine" / name for name in ("whole", "requeued"))

    job = cluster("sbatch", "--parsable", "whole.sh", at=tmp_path).strip()
    finished(cluster, job, tmp_path)
    assert "MEMBER: 2/2" in (tmp_path / f"slurm-{job}.out").read_text()

    job = cluster("sbatch", "--parsable", "requeued.sh", at=tmp_path).strip()
    last = requeued / "checkpoints" / "last.ckpt"
    for _ in range(6000):
        if last.exists():
            break
        time.sleep(0.02)
    assert not (requeued / "metrics.json").exists(), "it ended before it could be stopped"
    # What SLURM sends before the time is up.
    cluster("scancel", "--batch", "--signal=USR1", job, at=tmp_path)
    finished(cluster, job, tmp_path)
    said = (tmp_path / f"slurm-{job}.out").read_text()
    assert "Restarts=1" in cluster("scontrol", "show", "job", job, at=tmp_path), said
    assert f"Resuming {requeued}" in said
    assert "which had finished" not in said, "it was stopped too late"

    (weights, metrics), (expected, expected_metrics) = results(requeued), results(whole)
    assert weights.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(weights[name], tensor), name
    assert metrics == expected_metrics
    assert not list(tmp_path.rglob("hpc_ckpt*"))


@pytest.mark.slow
@needs_slurm
@pytest.mark.parametrize(("number", "setting", "jobs"), [(0, "seed=1", 2), (1, "seed=1,2", 2)])
def test_a_sweep_is_a_job_for_each_setting(cluster, tmp_path, number, setting, jobs):
    command = as_written("hydra/launcher=submitit_slurm", processes=2)[number].replace("seed=1,2,3", setting)
    cluster(*command.split(), "trainer.max_epochs=1", at=tmp_path)
    assert len(list(tmp_path.rglob("metrics.json"))) == jobs
    assert len(list(tmp_path.rglob("*_result.pkl"))) == jobs * (number + 1)  # one of each process
