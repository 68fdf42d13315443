"""The folders of runs: configs that name code, checkpoints that hold it, scores and arrays of any shape."""

import contextlib
import io
import json
import os
import pickle
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

from spatialprop.cli import main
from spatialprop.experiment.run_folder import RunFolder
from spatialprop.experiment.trained import load_run, read_config
from spatialprop.experiment.weights import load_weights_of
from tests.attack.judge import CANARY, RefusedError, Try
from tests.attack.mutation import VALUES, changed, damaged
from tests.experiment.tiny import composed, tiny_here
from tests.report.dilated.test_dilated import affinity_metrics
from tests.report.folders import arrays, write_run

CODE = {"_target_": "pathlib.Path.touch", "self": {"_target_": "pathlib.Path", "_args_": [CANARY]}}
TARGETS = (
    "os.system",
    "builtins.exec",
    "torch.load",
    "torch.hub.load",
    "subprocess.call",
    "spatialprop.data.unpack.unpack",
    "spatialprop.nn.published.weights._local",
    "spatialprop.files.write_file",
    "spatialprop.cli.main",
    "pickle.loads",
    "spatialprop.nn.published.weights.os.system",
    "spatialprop.download.fetch",
    "hydra.utils.instantiate",
    "",
    "x" * 999,
    "spatialprop.data.sets.synthetic.SyntheticSplits.__init__.__globals__",
    "spatialprop.nn.segmenters.UNet",
)
HOSTILE: tuple[Any, ...] = (
    *VALUES,
    CODE,
    [CODE],
    {"x": CODE},
    "${oc.env:HOME}",
    "${oc.create:{}}",
    "${nowhere}",
    "???",
    "${name}",
    *(
        {"_target_": target, "path": CANARY, "content": "x", "f": CANARY, "command": f"touch {CANARY}"}
        for target in TARGETS
    ),
)


@cache
def config() -> dict[str, Any]:
    return OmegaConf.to_container(composed("train", *tiny_here()), resolve=True)  # type: ignore[return-value]


class Evil:
    """Pickled, it is a call."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.arguments


def checkpoint(rng: Random) -> bytes:
    state: dict[str, Any] = {"network.a": torch.ones(2, 3), "network.b": torch.zeros(4), "other": torch.ones(1)}
    whole: Any = {"state_dict": state, "epoch": 3, "callbacks": {}, "loops": {}}
    evil = rng.choice(
        (
            Evil(os.system, f"touch {CANARY}"),
            Evil(eval, f"open({CANARY!r}, 'w')"),
            Evil(Path, CANARY),
            Evil(open, CANARY, "w"),
            Evil(torch.load, CANARY),
            Evil(getattr, torch, "load"),
            Evil(bytearray, 1 << 40),
        )
    )
    if rng.random() < 0.5:
        whole = changed(
            rng, {"state_dict": {"a": 1}, "epoch": 3, "callbacks": {}}, (*VALUES, evil, [evil], {"x": evil})
        )
    stored = io.BytesIO()
    if rng.random() < 0.15:
        stored.write(pickle.dumps(evil, protocol=rng.randint(0, 5)))
    else:
        torch.save(whole, stored, _use_new_zipfile_serialization=rng.random() < 0.8)
    return damaged(rng, stored.getvalue()) if rng.random() < 0.4 else stored.getvalue()


def tries(rng: Random) -> Iterator[Try]:
    """Endless."""
    number = 0
    while True:
        number += 1
        kind, seed = rng.random(), rng.random()
        if kind < 0.3:
            yield Try(f"read_config {number}", lambda s=seed: _config(Random(s), load=False))
        elif kind < 0.4:
            yield Try(f"load_run {number}", lambda s=seed: _config(Random(s), load=True))
        elif kind < 0.7:
            yield Try(f"checkpoint {number}", lambda s=seed: _checkpoint(Random(s)))
        else:
            yield Try(f"report {number}", lambda s=seed: _report(Random(s)))


def _config(rng: Random, *, load: bool) -> None:
    run = RunFolder("run")
    run.path.mkdir()
    found = changed(rng, config(), HOSTILE)
    text = (
        json.dumps(found)
        if rng.random() < 0.9
        else "a: &a [x,x,x]\n" + "".join(f"b{i}: &b{i} [*a,*a]\n" for i in range(9))
    )
    content = text.encode(errors="surrogatepass")
    run.config.write_bytes(damaged(rng, content) if rng.random() < 0.2 else content)
    (run.path / "data.json").write_text(json.dumps({"name": "x", "classes": list("abcdef")}))
    if load:
        run.checkpoints.mkdir()
        (run.checkpoints / "best.ckpt").write_bytes(checkpoint(rng))
        load_run(run.path)
    else:
        read_config(run, trust=False)


def _checkpoint(rng: Random) -> None:
    path = Path("last.ckpt")
    path.write_bytes(checkpoint(rng))
    load_weights_of(path)


def _report(rng: Random) -> None:
    run = write_run(Path("run"), examples=0)
    metrics = affinity_metrics() if rng.random() < 0.5 else json.loads((run / "metrics.json").read_text())
    kind = rng.randrange(5)
    if kind == 0:
        (run / "metrics.json").write_text(json.dumps(changed(rng, metrics)))
    elif kind == 1:
        data = json.loads((run / "data.json").read_text())
        (run / "data.json").write_text(json.dumps(changed(rng, data)))
    elif kind == 2:
        victim = rng.choice(
            ("metrics.json", "data.json", ".hydra/overrides.yaml", "config.yaml", "csv/version_0/metrics.csv")
        )
        (run / victim).write_bytes(damaged(rng, (run / victim).read_bytes()))
    elif kind == 3:
        (run / "universal.json").write_text(json.dumps(changed(rng, {"a": {}, "../victim": {}, "javascript:x": {}})))
    else:
        one = arrays()
        name = rng.choice(list(one))
        other = rng.choice(
            (np.zeros(0), np.zeros((1, 1)), one[name].astype(float) * np.nan, np.array("x"), one["image"])
        )
        np.savez(run / "examples" / "00_x.npz", **{**one, name: other})
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = main(["report", str(run)])
    if code not in (0, 2):
        raise AssertionError(f"exit code {code}")
    if code:
        raise RefusedError(said.getvalue())
