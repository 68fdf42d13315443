"""Every file under conf/experiment: its own layers for one step on tiny images, and the settings of the paper's."""

import json
import re
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from spatialprop.baselines import installed
from spatialprop.experiment.parts import make_baselines, make_segmenter, make_splits, make_task, task_class
from spatialprop.experiment.training import train
from spatialprop.metrics.helen import CLASSES
from spatialprop.tasks.optimization import Optimization
from tests.data.tiny_folder import write_tiny_folder
from tests.experiment.tiny import QUIET, REPOSITORY, composed

pytestmark = QUIET

EXPERIMENTS = sorted(path.stem for path in (REPOSITORY / "conf" / "experiment").glob("*.yaml"))
HELEN = [name for name in EXPERIMENTS if name.startswith("helen_")]
REAL = [name for name in EXPERIMENTS if name.startswith("real_")]
VOC = [name for name in EXPERIMENTS if name.startswith("voc_")]
REFINEMENTS = [name for name in HELEN + VOC if name.endswith("_way")]
NUMBER_OF_CLASSES = {"voc": 21, "helen": len(CLASSES), "camvid": 11, "cityscapes": 19}
ONE_STEP = (
    "trainer=cpu",
    "trainer.devices=1",
    "trainer.deterministic=false",  # or it would stay set for the tests that follow
    "trainer.precision=32-true",
    "trainer.max_epochs=1",
    "trainer.check_val_every_n_epoch=1",
    "trainer.log_every_n_steps=1",
    "trainer.limit_train_batches=1",
    "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1",
    "loader.workers=0",
    "loader.batch_size=2",
    "loader.per_image=2",
    "callbacks.progress_bar=false",
    "callbacks.examples=1",
    "baselines=[]",
)


def missing(config, prefix=""):
    """Overrides that fill in what the user must give."""
    for key in config:
        if OmegaConf.is_missing(config, key):
            yield f"{prefix}{key}=null"
        elif OmegaConf.is_dict(config[key]):
            yield from missing(config[key], f"{prefix}{key}.")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Makes fresh weights of a segmenter, once for each, and forgets them in the end."""
    folder = tmp_path_factory.mktemp("checkpoints")

    def checkpoint(config, labels) -> Path:
        path = folder / f"{config.segmenter.network._target_}.safetensors"
        if not path.exists():
            save_file(make_segmenter(config, labels).state_dict(), path)
        return path

    yield checkpoint
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_one_step_on_tiny_images(experiment, tmp_path, checkpoints):
    chosen = composed("train", f"experiment={experiment}")
    kind = chosen.data._target_.rpartition(".")[2]
    options = [f"experiment={experiment}", *ONE_STEP]
    if kind == "synthetic":
        options += ["data.train=1", "data.val=1", "data.test=1", "data.size=[64,64]"]
    elif kind == "folders":
        for part in chosen.data.parts:
            splits = ("train", "val", "train_extra") if part == "voc_animals" else ("train", "val")
            write_tiny_folder(
                tmp_path / "data" / part, splits=splits, images=2, size=(48, 64), classes=3, coarse=part != "clothes"
            )
        options.append(f"data.root={tmp_path / 'data'}")
    elif kind == "folder":
        splits = ("val", *chosen.data.train_splits)
        write_tiny_folder(tmp_path / "data" / (chosen.data.part or ""), splits=splits, images=2, size=(48, 64))
        options.append(f"data.root={tmp_path / 'data'}")
    elif kind in ("colorize", "matting"):  # drawn images, without photographs
        options += ["data.train=2", "data.val=1", "data.test=1", "data.patch=48", "data.size=[48,64]"]
    else:
        root = write_tiny_folder(
            tmp_path / "data", images=1, size=(48, 64), classes=NUMBER_OF_CLASSES[kind], coarse=False
        )
        options += ["data=folder", f"data.root={root}"]
    config = composed("train", *options)
    options += missing(config)
    config = composed("train", *options)
    refines = task_class(config).takes_coarse
    if refines and config.segmenter.get("fit") is not None:
        config.segmenter.fit.update(max_epochs=1, batch_size=2, validate_every=1)
    elif refines and config.segmenter.network is not None:
        config.segmenter.checkpoint = str(checkpoints(config, make_splits(config).labels))

    metrics = train(config, tmp_path / "run")
    values = config.task.name in ("matte", "colorize")  # of which no class map is an oracle
    assert {"coarse", "refined" if values else "oracle_8px"} <= metrics.keys()
    if config.task.name in ("refine", "joint"):
        assert "refined" in metrics
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()).items() >= metrics.items()
    assert (tmp_path / "run" / "report.html").is_file()
    (curves,) = (tmp_path / "run" / "csv").glob("*/metrics.csv")
    assert "train/loss" in curves.read_text()
    for weights in (tmp_path / "run").rglob("*.safetensors"):
        weights.unlink()  # half a gigabyte for FCN-8s
    for weights in (tmp_path / "run").rglob("*.ckpt"):
        weights.unlink()


@pytest.mark.parametrize("experiment", HELEN + VOC)
def test_the_papers_training(experiment):
    config = composed("train", f"experiment={experiment}")
    assert config.optimizer._target_ == "torch.optim.SGD"
    assert config.optimizer.lr == 1e-2  # optimizer=paper_scaled: the paper's 1e-4 moves nothing, docs/reproducing.md
    assert config.scheduler._target_.endswith(".constant")
    assert config.trainer.max_epochs == (40 if experiment in HELEN else 100)
    assert config.data._target_ == f"spatialprop.data.{'helen' if experiment in HELEN else 'voc'}"
    assert config.name == experiment


@pytest.mark.parametrize("experiment", REFINEMENTS)
def test_the_papers_refinement(experiment):
    config = composed("train", f"experiment={experiment}", "guidance.network.weights=null"
                      if experiment in VOC else "seed=1")  # fmt: skip
    assert config.patches == {
        "_target_": "spatialprop.data.SquarePatches", "size": 128, "scale": [1.0, 1.0], "multi_label": True,
        "skip_uniform": True,
    }  # fmt: skip
    assert config.task.loss._target_.endswith(".cross_entropy")
    assert config.task.restrict == (experiment in VOC)
    assert config.propagation.connection == experiment.split("_", 2 if experiment in VOC else 1)[-1]
    from spatialprop.data.sets.helen import LABELS as HELEN_LABELS
    from spatialprop.data.sets.voc import LABELS as VOC_LABELS

    labels = HELEN_LABELS if experiment in HELEN else VOC_LABELS
    with torch.device("meta"):
        network = make_task(config, labels, {}, Optimization(torch.optim.SGD)).network
        guidance = network.guidance(torch.empty(1, 3, 128, 128))
    ways = 1 if "one_way" in experiment else 3
    assert guidance.shape == (1, 32 * 4 * ways, 64, 64)
    assert network.propagation.units == 2
    assert not network.propagation.separate_gates
    assert network.propagation.normalization == "clamp"
    assert network.before.weight.shape == (32, len(labels.classes), 3, 3)
    assert network.after.weight.shape == (len(labels.classes), 32, 3, 3)
    assert type(network.guidance).__name__ == ("UNetGuidance" if experiment in HELEN else "VGG16Guidance")


@pytest.mark.parametrize("experiment", REAL)
def test_nothing_is_chosen_by_the_split_that_is_reported(experiment):
    config = composed("train", f"experiment={experiment}")
    assert config.data.train_splits == (["train", "train_extra"] if experiment == "real_voc_animals" else ["train"])
    assert config.callbacks.weights == "last"
    assert config.data.part == experiment.removeprefix("real_") == config.name.removeprefix("real_")
    if "densecrf" in installed():
        assert list(make_baselines(config)) == ["densecrf", "guided_filter"]


def test_one_command_for_all_real_sets():
    sweep = OmegaConf.load(REPOSITORY / "conf" / "sweep" / "real.yaml").hydra.sweeper.params
    assert sorted(sweep.experiment.split(",")) == REAL
    one, three = (
        composed("train", "experiment=real_camvid", f"propagation={way}", "data.root=DIR")
        for way in sweep.propagation.split(",")
    )
    assert (one.optimizer.lr, three.optimizer.lr) == (2e-3, 5e-4)
    one.propagation.connection = "three_way"
    assert one == three


def sweep_of(name):
    return OmegaConf.load(REPOSITORY / "conf" / "sweep" / f"{name}.yaml").hydra.sweeper.params


def test_nothing_but_maps_and_connection_differ_in_the_study_of_ties():
    swept = sweep_of("ties")
    assert sorted(swept.maps.split(",")) == ["hidden", "none"]
    jobs = {
        (maps, way): composed(
            "train", "sweep=ties", "experiment=real_camvid", f"maps={maps}", f"propagation={way}", "data.root=DIR"
        )
        for maps in swept.maps.split(",")
        for way in swept.propagation.split(",")
    }
    for (maps, way), job in jobs.items():
        assert (job.guidance.hidden, job.guidance.groups) == ((32, 1) if maps == "hidden" else (None, None))
        assert job.propagation.connection == way
        assert job.guidance.checkpoint is None
        assert job.optimizer.lr == 4e-3
        job.propagation.connection, job.maps, job.guidance.hidden, job.guidance.groups = "any", "any", None, None
    first, *others = (OmegaConf.to_container(job, resolve=True) for job in jobs.values())
    assert all(other == first for other in others)


def test_the_strong_rows_go_on_with_the_segmenter_of_its_experiment():
    segmenter = composed("train", "experiment=camvid_segmenter", "data.root=DIR")
    for row in sweep_of("dilated_affinity_strong").experiment.split(","):
        job = composed("train", "sweep=dilated_affinity_strong", f"experiment={row}", "data.root=DIR")
        assert job.segmenter.network == segmenter.segmenter.network
        assert (job.data, job.patches, job.loader) == (segmenter.data, segmenter.patches, segmenter.loader)
        assert job.optimizer.lr < segmenter.optimizer.lr


@pytest.mark.parametrize("system", ["helen", "voc_fcn8s"])
def test_one_way_and_three_way_differ_in_nothing_else(system):
    one, three = (composed("train", f"experiment={system}_{way}") for way in ("one_way", "three_way"))
    one.name, one.propagation.connection = three.name, "three_way"
    assert one == three


def test_vgg_learns_at_a_rate_of_its_own():
    from spatialprop.data.sets.voc import LABELS
    from spatialprop.experiment.parts import make_optimization

    config = composed("train", "experiment=voc_fcn8s_three_way", "guidance.network.weights=null")
    with torch.device("meta"):
        task = make_task(config, LABELS, {}, make_optimization(config))
    optimizer = task.optimization.configure(task.network, None)["optimizer"]
    own, pretrained = optimizer.param_groups
    assert own["lr"] == pytest.approx(1e-2)
    assert pretrained["lr"] == pytest.approx(1e-3)
    assert {id(one) for one in pretrained["params"]} == {id(one) for one in task.network.guidance.trunk.parameters()}


def test_imagenets_weights_must_be_given():
    config = composed("train", "experiment=voc_fcn8s_three_way")
    assert OmegaConf.is_missing(config.guidance.network, "weights")


@pytest.mark.parametrize(("experiment", "stride"), [("helen_unet", 8), ("helen_highres", 1)])
def test_the_face_baselines_learn_classes_and_edges(experiment, stride):
    config = composed("train", f"experiment={experiment}")
    assert config.task.edge_weight == 1.0
    from spatialprop.data.sets.helen import LABELS

    with torch.device("meta"):
        network = make_segmenter(config, LABELS)
    assert sum(parameter.numel() for parameter in network.parameters()) == (3_138_955 if stride == 8 else 3_155_467)
    assert network.stride == stride


@pytest.mark.parametrize("experiment", ["helen_one_way", "helen_three_way"])
def test_the_refined_coarse_maps_are_those_of_the_baseline(experiment):
    base, refined = (composed("train", f"experiment={name}").segmenter for name in ("helen_unet", experiment))
    assert base.network == refined.network


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_header_says_how_to_run_it(experiment):
    head = (REPOSITORY / "conf" / "experiment" / f"{experiment}.yaml").read_text().splitlines()
    assert head[0] == "# @package _global_"
    assert head[1].startswith(("# python train.py experiment=" + experiment, "# python train.py --multirun"))
    text = " ".join(line.removeprefix("# ") for line in head if line.startswith("# "))
    if experiment != "real":  # which the others of its kind are made of
        assert re.search(r"Hardware: .+\. (Time: .+\. Score:|Time, score:) .", text)
    if experiment in HELEN + VOC:
        assert "Hardware: one GPU. Time: not measured. Score: not measured; the paper's" in text
