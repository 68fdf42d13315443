"""Checkpoints that were cut, replaced or made to attack: each is named, none runs code, nobody is told to let it."""

import io
import os
import pickle
import re
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from spatialprop.experiment.trained import load_run
from spatialprop.experiment.training import train
from tests.experiment.tiny import QUIET, composed, tiny_here

pytestmark = QUIET


def damaged(kind: str, whole: bytes) -> bytes:
    class Evil:
        def __reduce__(self):
            return os.system, ("touch owned",)

    stored = io.BytesIO()
    if kind == "pickle":
        stored.write(pickle.dumps(Evil()))
    elif kind == "evil":
        torch.save({"state_dict": Evil()}, stored)
    elif kind == "other":
        torch.save([1, 2, 3], stored)
    elif kind == "bomb":
        with zipfile.ZipFile(stored, "w", zipfile.ZIP_DEFLATED) as archive, zipfile.ZipFile(io.BytesIO(whole)) as given:
            for member in given.infolist():
                archive.writestr(member.filename, given.read(member))
    elif kind == "states":
        torch.save({**torch.load(io.BytesIO(whole), weights_only=True), "optimizer_states": [{"state": 3}]}, stored)
    elif kind == "loops":
        torch.save({**torch.load(io.BytesIO(whole), weights_only=True), "loops": {}}, stored)
    else:
        stored.write({"cut": whole[: len(whole) // 2], "empty": b"", "text": b"<html>" * 99}[kind])
    return stored.getvalue()


DAMAGES = ["cut", "empty", "text", "pickle", "evil", "other", "bomb"]


@pytest.mark.parametrize("damage", [*DAMAGES, "states", "loops"])
def test_a_broken_checkpoint_is_named_and_nobody_is_told_to_run_its_code(finished, damage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    last = folder / "checkpoints" / "last.ckpt"
    last.write_bytes(damaged(damage, last.read_bytes()))
    again = tiny_here("ckpt_path=last")
    with pytest.raises(ValueError, match=r"last\.ckpt") as caught:
        train(composed("train", *again, "trainer.max_epochs=3"), folder)
    assert "weights_only" not in str(caught.value)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("damage", "suffix"), [*((damage, ".ckpt") for damage in DAMAGES), ("evil", ".pth"), ("text", ".safetensors")]
)
def test_a_broken_segmenter_is_named(finished, damage, suffix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = tmp_path / f"given{suffix}"
    given.write_bytes(damaged(damage, (finished / "checkpoints" / "last.ckpt").read_bytes()))
    options = tiny_here("task=segment", "patches=full", f"segmenter.checkpoint={given}")
    with pytest.raises(ValueError, match="given") as caught:
        train(composed("train", *options), tmp_path / "run")
    assert "weights_only" not in str(caught.value)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("name", ["network.safetensors", "best.ckpt"])
@pytest.mark.parametrize("damage", ["cut", "text", "evil"])
def test_broken_weights_of_a_run_are_named(finished, name, damage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    path = folder / "checkpoints" / name
    if name == "best.ckpt":
        (folder / "checkpoints" / "network.safetensors").unlink()
    path.write_bytes(damaged(damage, path.read_bytes()))
    with pytest.raises(ValueError, match=re.escape(name)) as caught:
        load_run(folder)
    assert "weights_only" not in str(caught.value)
    assert not (tmp_path / "owned").exists()
