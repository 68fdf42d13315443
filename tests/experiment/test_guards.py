"""Nothing in a run's folder runs foreign code, and runs that cannot work are refused."""

import shutil
from pathlib import Path

import pytest
import yaml
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from spatialprop.cli import main as spatialprop
from spatialprop.experiment.evaluation import evaluate
from spatialprop.experiment.guards import OWN, known_targets, refuse_foreign_code, refuse_processes_in_multirun
from spatialprop.experiment.run_folder import RunFolder
from spatialprop.experiment.trained import load_run, read_config
from spatialprop.experiment.training import train
from tests.experiment.tiny import QUIET, REPOSITORY, composed, evaluation, tiny_here

pytestmark = QUIET


def named(node):
    """All `_target_`s in nested settings."""
    if isinstance(node, dict):
        yield from (value for key, value in node.items() if key == "_target_")
    for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from named(part)


def test_the_gate_lets_through_what_the_configs_name_and_nothing_else():
    files = (yaml.safe_load(path.read_text()) for path in (REPOSITORY / "conf").rglob("*.yaml"))
    expected = {target for file in files for target in named(file)}
    assert known_targets() == {target for target in expected if target.startswith(OWN)}
    others = expected - known_targets()
    assert {target.partition(".")[0] for target in others} == {"mmseg", "timm", "torchvision", "transformers"}
    assert not [target for target in known_targets() if "unpack" in target or "weights" in target]


def test_another_name_of_what_the_configs_name_is_let_through():
    config = composed("train")
    config.segmenter.network._target_ = "spatialprop.nn.segmenters.UNet"  # conf/ names its module
    refuse_foreign_code(OmegaConf.create(OmegaConf.to_yaml(config, resolve=True)), trust=False)


@pytest.mark.parametrize("experiment", [[], ["experiment=real_faces"], ["experiment=refiner_light"]], ids=str)
def test_configs_of_our_own_pass(experiment):
    chosen = composed("train", *experiment)
    refuse_foreign_code(OmegaConf.create(OmegaConf.to_yaml(chosen, resolve=True)), trust=False)


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("degrade", "torch.load"),
        ("rough", "os.system"),
        ("data", "spatialprop.data.unpack.unpack"),
        ("guidance.network", "spatialprop.nn.published.weights._local"),
        ("guidance.network", "spatialprop.nn.published.weights.os.unlink"),
        ("segmenter.network", "spatialprop.cli.main"),
        ("segmenter.network.model", "timm.create_model"),
        ("optimizer", "torch.optim.swa_utils.AveragedModel"),
        ("logger", "builtins.eval"),
        ("task.loss", "spatialprop.tasks.losses.F.nll_loss"),
        ("new.list", "builtins.exec"),
    ],
)
def test_a_target_that_no_config_names_is_refused_wherever_it_stands(key, target):
    config = OmegaConf.create(OmegaConf.to_yaml(composed("train"), resolve=True))
    where = {"_target_": target, "f": "evil.pt"}
    OmegaConf.update(config, key, [[where]] if key == "new.list" else where, force_add=True)
    with pytest.raises(ValueError, match=r"_target_ = .* would run code .* trust=true"):
        refuse_foreign_code(config, trust=False)
    refuse_foreign_code(config, trust=True)


@pytest.mark.parametrize(
    "value", ["${name}", "${oc.env:HOME}", "a ${oc.env:HOME,x} b", "${oc.create:${x}}", "${\noc.env:HOME}"]
)
@pytest.mark.parametrize("place", ["value", "list", "key"])
def test_resolvers_are_refused_before_anything_is_resolved(value, place):
    config = {"value": {"name": value}, "list": {"tags": [1, value]}, "key": {value: 1}}[place]
    with pytest.raises(ValueError, match=r"is an interpolation, .* trust=true"):
        refuse_foreign_code(OmegaConf.create(config), trust=False)


def test_a_resolver_put_together_from_parts_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call = "{oc.create:'{_target_: pathlib.Path.touch, self: {_target_: pathlib.Path, _args_: [owned]}}'}"
    network = {"_target_": "spatialprop.data.DegradeCoarse", "share": "${first}${second}"}
    config = OmegaConf.create({"degrade": network, "first": "$", "second": call})
    with pytest.raises(ValueError, match=r"degrade\.share = .* is an interpolation"):
        refuse_foreign_code(config, trust=False)
    refuse_foreign_code(config, trust=True)
    with pytest.raises(InstantiationException):
        instantiate(config.degrade)
    assert Path("owned").exists()  # what Hydra resolves a second time is code


@pytest.fixture
def tampered(finished, tmp_path) -> Path:
    """A run whose config would write a file."""
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["degrade"] = {"_target_": "pathlib.Path.touch", "self": {"_target_": "pathlib.Path", "_args_": ["owned"]}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def test_every_command_that_reads_a_run_refuses_it(tampered, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for given in (f"run={tampered}", f"run=[{tampered}]"):
        with pytest.raises(ValueError, match="trust=true"):
            evaluate(composed("evaluate", *evaluation(given)), tmp_path / "evaluation")
    with pytest.raises(ValueError, match="trust=true"):
        load_run(tampered)
    assert spatialprop(["export", str(tampered), "--to", str(tmp_path / "x.safetensors")]) == 2
    assert "trust=true" in capsys.readouterr().err
    with pytest.raises(ValueError, match="trust=true"):
        train(composed("train", *tiny_here("ckpt_path=last")), tampered)
    assert not (tmp_path / "owned").exists()
    assert load_run(tampered, trust=True)


@pytest.mark.parametrize("place", ["segmenter", "model", "degrade"])
def test_a_run_fetches_no_address(finished, tmp_path, place):
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    address = f"http://127.0.0.1:1/x.pth#sha256={'0' * 64}"
    config["segmenter"]["network"]["weights"] = address
    run = RunFolder(folder)
    run.write_config(OmegaConf.create(config))
    assert read_config(run, trust=False).segmenter.network.weights is None  # what a run began with is kept by it
    if place == "segmenter":
        run.segmenter.unlink()
        run.best.unlink()
        run.last.unlink()
    else:
        vgg = {"_target_": "spatialprop.nn.guidance.VGG16Guidance", "weights": address}
        (config if place == "degrade" else config["segmenter"]["network"])[place] = vgg
    run.write_config(OmegaConf.create(config))
    with pytest.raises(ValueError, match=r"would be fetched, .* trust=true"):
        read_config(run, trust=False)
    assert read_config(run, trust=True)


@pytest.mark.parametrize("text", ["3", "2026-01-31", "[1, 2]", "true", "a: [", "a: &x [1]\nb: *x", "name", "\0"])
def test_what_is_no_config_is_named(text, tmp_path):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(
        ValueError, match=r"config\.yaml (cannot be read as|is not) the config of a run|describes nothing"
    ):
        read_config(RunFolder(tmp_path), trust=False)


def test_a_run_of_an_earlier_version_is_told_so(finished, tmp_path):
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    del config["task"]["_target_"]
    config["task"]["kind"] = config["task"].pop("name")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match="kind = 'refine': this config was written by an earlier version"):
        load_run(folder)


def test_what_is_no_task_is_refused(tmp_path):
    with pytest.raises(TypeError, match="must be a subclass of spatialprop"):
        train(composed("train", *tiny_here("task._target_=spatialprop.nn.JointNetwork")), tmp_path)


def test_one_process_needs_no_multirun_guard():
    refuse_processes_in_multirun(composed("train", "trainer=ddp"))  # outside of Hydra


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("task=matte", "data=synthetic"), "task=matte cannot use synthetic; choose data=matting or data=colorize"),
        (("data=matting",), "task=refine cannot use matting; choose data=synthetic or another with labels"),
    ],
)
def test_a_task_and_data_of_another_kind_are_refused(words, message):
    from spatialprop.experiment.parts import make_splits

    with pytest.raises(ValueError, match=message):
        make_splits(composed("train", *words))
