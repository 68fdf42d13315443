"""Mattes and colours through the whole experiment: train, sweep, resume, evaluate, export, use."""

import json

import numpy as np
import pytest
from PIL import Image

from spatialprop.cli import main as spatialprop
from tests.experiment.tiny import run

pytestmark = pytest.mark.slow
SMALL = (
    "data.train=16",
    "data.val=1",
    "data.test=2",
    "data.patch=32",
    "data.size=[40,48]",
    "loader.batch_size=4",
    "loader.workers=0",
    "guidance.network.widths=[8,8,8]",
    "guidance.network.depths=[0,1,1]",
    "trainer.max_epochs=2",
    "trainer.check_val_every_n_epoch=1",
    "callbacks.progress_bar=false",
    "callbacks.checkpoint_every_n_batches=3",
)


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_mattes_in_a_sweep(tmp_path, capsys):
    run(
        "train.py", "--multirun", "task=matte", *SMALL, "baselines=[]", "propagation=one_way,three_way", "seed=1,2",
        folder=tmp_path,
    )  # fmt: skip
    (folder,) = (tmp_path / "multirun").iterdir()
    found = [metrics(job) for job in sorted(folder.glob("[0-9]"))]
    assert len(found) == 4
    assert {"SAD", "MSE", "gradient_error", "connectivity_error", "milliseconds"} <= found[0]["refined"].keys()
    assert found[0]["refined"]["SAD"] != found[2]["refined"]["SAD"]
    assert spatialprop(["report", str(folder)]) == 0
    table = capsys.readouterr().out
    assert "SAD" in table
    assert "three_way" in table


def test_colours_train_resume_evaluate_and_export(tmp_path, capsys):
    words = ("task=colorize", *SMALL, "data.hints=[5,20]")
    done = run("train.py", *words, "hydra.run.dir=whole", folder=tmp_path)
    assert "PSNR, 20 hints" in done.stdout + done.stderr
    run("train.py", *words, "trainer.max_epochs=1", "hydra.run.dir=parts", folder=tmp_path)
    run("train.py", *words, "hydra.run.dir=parts", "ckpt_path=last", folder=tmp_path)
    whole, parts = metrics(tmp_path / "whole"), metrics(tmp_path / "parts")
    assert set(whole) == {"coarse", "refined", "optimization", "run"}
    assert whole["coarse"] == parts["coarse"]
    assert (tmp_path / "whole" / "figures" / "values.png").is_file()

    (tmp_path / "photographs").mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(tmp_path / "photographs" / "noise.png")
    words = ("run=whole", "data=colorize", "data.root=photographs", "data.hints=[9]", "predictions=true")
    run("evaluate.py", *words, "hydra.run.dir=evaluated", folder=tmp_path)
    assert list(metrics(tmp_path / "evaluated")["refined"]["PSNR_by_group"]) == ["9"]
    assert (tmp_path / "evaluated" / "predictions" / "refined" / "noise_9.png").is_file()

    weights = tmp_path / "mine.safetensors"
    assert spatialprop(["export", str(tmp_path / "whole"), "--to", str(weights)]) == 0
    grey = np.full((30, 40), 100, np.uint8)
    marked = np.repeat(grey[..., None], 3, axis=2)
    marked[10:13, 10:20] = 200, 50, 50
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(marked).save(tmp_path / "marked.png")
    given = [tmp_path / "grey.png", tmp_path / "marked.png", "--weights", weights]
    assert spatialprop(["colorize", *map(str, given)]) == 0
    assert (tmp_path / "grey_coloured.png").is_file()
    assert spatialprop(["export", str(tmp_path / "whole"), "--to", str(tmp_path / "mine.onnx")]) == 2
    assert "kept as .safetensors alone" in capsys.readouterr().err
