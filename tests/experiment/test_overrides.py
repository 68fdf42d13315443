"""The command lines of train and evaluate: help for misspelt words, folders, completion."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from spatialprop.experiment import overrides
from spatialprop.experiment.overrides import added_in_vain, register_resolvers, what_exists
from tests.experiment.tiny import REPOSITORY, TINY, run, tiny_but


@pytest.mark.parametrize(
    ("command", "override", "told"),
    [
        ("train", "optimizer.lrr=1", "Did you mean 'lr'?"),
        ("train", "sead=1", "Did you mean 'seed'?"),
        ("train", "experimen=synthetic_unet", "Did you mean 'experiment'?"),
        ("train", "guidance.network.widht=8", "Did you mean 'width'?"),
        ("train", "task.kind=refine", "there are: _target_, name"),
        ("evaluate", "segmentr=files", "Did you mean 'segmenter'?"),
        ("evaluate", "baseline=[densecrf]", "Did you mean 'baselines'?"),
        ("evaluate", "trainer.device=2", "Did you mean 'devices'?"),
    ],
)
def test_a_misspelt_key_gets_the_keys_beside_it(command, override, told):
    assert told in what_exists([override], command)


@pytest.mark.parametrize(("command", "key", "told"), [("train", "sead", "seed"), ("evaluate", "baseline", "baselines")])
def test_a_key_that_nothing_reads_is_not_added(command, key, told):
    assert f"Did you mean '{told}'?" in added_in_vain([f"+{key}=1"], command)


def test_what_is_right_gets_no_hint():
    right = ["--multirun", *TINY, "propagation=one_way,three_way", "~guidance.hints", "+trainer.benchmark=true"]
    assert what_exists(right, "train") is added_in_vain(right, "train") is None


def resolved(text: str) -> str:
    register_resolvers()
    return OmegaConf.create({"folder": text, "none": None}).folder


def test_a_new_run_never_shares_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = "${run_folder:outputs,refine,now,${none}}"
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(resolved, [asked] * 16))
    assert sorted(claimed) == sorted(["outputs/refine/now", *(f"outputs/refine/now_{n}" for n in range(2, 17))])
    assert {str(path) for path in tmp_path.glob("outputs/refine/*")} == {str(tmp_path / path) for path in claimed}
    assert resolved("${sweep_folder:multirun,now}") == "multirun/now"
    assert resolved("${sweep_folder:multirun,now}") == "multirun/now_2"


@pytest.mark.parametrize(
    ("command", "key", "place"),
    [
        ("train", "run.dir", "outputs/synthetic_unet/*"),
        ("train", "sweep.dir", "multirun/*"),
        ("evaluate", "run.dir", "run/evaluations/*"),
    ],
)
def test_the_configs_claim_their_folders(command, key, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    register_resolvers()
    given = ["run=run"] if command == "evaluate" else ["name=synthetic_unet"]
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        config = compose(command, given, return_hydra_config=True)
    folder = OmegaConf.select(config, f"hydra.{key}")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.glob(place)] == [folder]  # made by being asked for


def test_all_who_ask_one_config_get_one_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    register_resolvers()
    config = OmegaConf.create({"folder": "${sweep_folder:multirun,now}"})
    assert config.folder == config.folder == "multirun/now"


def test_evaluations_lie_in_their_run_or_beside_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    assert resolved("${evaluation_folder:run,now}") == "run/evaluations/now"
    assert resolved("${evaluation_folder:[a,b],now}") == "outputs/universal/now"
    for given, told in (("nowhere", "nowhere is not a folder"), ("${none}", "which run")):
        with pytest.raises(Exception, match=told):
            resolved(f"${{evaluation_folder:{given},now}}")


def test_the_newest_run_is_resumed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("2026-01-01", "2026-01-02"):
        (tmp_path / "outputs" / "refine" / name).mkdir(parents=True)
        (tmp_path / "outputs" / "refine" / name / "config.yaml").touch()
    assert resolved("${run_folder:outputs,refine,now,last}") == "outputs/refine/2026-01-02"
    with pytest.raises(Exception, match="there is no run in outputs/segment"):
        resolved("${run_folder:outputs,segment,now,last}")


def test_a_job_sees_the_whole_command_line(tmp_path, monkeypatch):
    """Lightning starts the other processes of a run with it."""
    monkeypatch.chdir(tmp_path)
    words = ["program", "train", "seed=7"]
    monkeypatch.setattr(sys, "argv", list(words))
    seen = []

    def train(config):
        sys.argv[:] = overrides._command_line
        seen.append((config.seed, list(sys.argv), HydraConfig.get().job.name))

    monkeypatch.setattr(overrides, "train", train)
    overrides.run("train", words[2:])
    assert seen == [(7, words, "train")]
    assert sys.argv == words
    (folder,) = (tmp_path / "outputs" / "refine").iterdir()
    assert (folder / ".hydra" / "config.yaml").is_file()
    overrides.run("train", ["--cfg", "all", "--resolve"])
    assert list((tmp_path / "outputs" / "refine").iterdir()) == [folder], "looking at a config made a folder"


HEAVY = {"torch", "pytorch_lightning", "numba", "albumentations", "cv2", "matplotlib"}


def shown(script: str, *arguments: str, typed: str = "") -> str:
    """What a script prints that only looks at its configs: it must do so without what takes seconds to import."""
    code = (
        f"import sys, runpy; sys.argv = {[script, *arguments]!r}\n"
        f"runpy.run_path({str(REPOSITORY / script)!r}, run_name='__main__')\n"
        f"assert not {HEAVY} & set(sys.modules), 'imported too early'"
    )
    surroundings = {**os.environ, "COMP_LINE": typed}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, env=surroundings
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr  # where Hydra would warn of an unknown version_base
    return done.stdout


def test_tab_completion_does_not_wait_for_torch():
    assert "propagation=three_way" in shown("train.py", "-sc", "query=bash", typed="train.py propagation=").split()


@pytest.mark.slow
def test_the_config_is_shown_and_overrides_of_evaluate_are_completed_without_torch():
    assert "connection: three_way" in shown("train.py", "--cfg", "job")
    assert "data=folder" in shown("evaluate.py", "-sc", "query=bash", typed="evaluate.py data=").split()


@pytest.mark.parametrize("script", ["train.py", "evaluate.py"])
def test_hydras_completion_knows_the_scripts_by_these_words(script):
    assert "@hydra.main" in (REPOSITORY / script).read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "words", "told"),
    [
        ("train.py", ["guidance=lite"], "light"),
        ("train.py", ["debug=quick"], "fast"),
        ("train.py", ["sead=1"], "Did you mean 'seed'?"),
        ("train.py", ["+sead=1"], "Did you mean 'seed'?"),
        ("train.py", ["patches.size=0"], "patches.size must be at least 1"),
        ("train.py", ["ckpt_path=last"], "there is no run in outputs/refine"),
        ("train.py", ["--multirun", "propagation=one_way,thre_way"], "three_way"),
        ("evaluate.py", [], "which run? Give its folder"),
        ("evaluate.py", ["run=outputs/latset"], "outputs/latset is not a folder"),
        ("evaluate.py", ["run=.", "data=foldr"], "cityscapes"),
        ("evaluate.py", ["run=.", "segmentr=files"], "Did you mean 'segmenter'?"),
        ("evaluate.py", ["run=."], "holds no config.yaml"),
    ],
    ids=str,
)
def test_a_wrong_command_line_says_what_is_right(script, words, told, tmp_path):
    words = tiny_but(*words) if script == "train.py" else words
    failed = run(script, *words, folder=tmp_path, expect=1)
    assert told in failed.stdout + failed.stderr
    assert not list(tmp_path.rglob("metrics.json"))
    assert not list(tmp_path.rglob("*.ckpt"))
    assert not (tmp_path / "outputs" / "latest").is_symlink()
