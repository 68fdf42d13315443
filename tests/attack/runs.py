"""The folders of runs and multiruns: configs that name code, checkpoints that hold it, scores, arrays, links, names."""

import contextlib
import copy
import io
import json
import os
import pickle
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from hydra.errors import HydraException
from omegaconf import OmegaConf

from spatialprop.data import LabelSet, write_label_set
from spatialprop.experiment.evaluation import evaluate
from spatialprop.experiment.guards import known_targets
from spatialprop.experiment.parts import make_task
from spatialprop.experiment.run_folder import RunFolder
from spatialprop.experiment.trained import load_run, read_config
from spatialprop.experiment.weights import keep_weights, load_weights_of
from tests.attack.judge import CANARY, RefusedError, Try, command
from tests.attack.mutation import VALUES, changed, damaged, nodes
from tests.experiment.tiny import composed, evaluation, tiny_here
from tests.report.dilated.test_dilated import affinity_metrics
from tests.report.folders import arrays, scores, write_job, write_run

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
PARTS = {  # of a resolver that stands nowhere as a whole
    "first": "$",
    "second": f"{{oc.create:'{{_target_: pathlib.Path.touch, self: {{_target_: pathlib.Path, _args_: [{CANARY}]}}}}'}}",
}
SCRIPT, LINK = "<script>owned()</script>", "javascript:owned()"
TEXTS = (*VALUES, SCRIPT, LINK, f'"><img src=x onerror={CANARY}>', "a\nb", "${x}", "$x_^{", "%s{0}")
HOSTILE: tuple[Any, ...] = (
    *TEXTS,
    10**5,
    10**7,
    CODE,
    [CODE],
    {"x": CODE},
    "${oc.env:HOME}",
    "${oc.create:{}}",
    "${oc.decode:'1'}",
    "${nowhere}",
    "${.}",
    "???",
    "${name}",
    "${first}${second}",
    *(
        {"_target_": target, "path": CANARY, "content": "x", "f": CANARY, "command": f"touch {CANARY}"}
        for target in TARGETS
    ),
)
DIRECTIVES = {
    "_target_": (*TARGETS, CODE, None, 3, [], "${name}", "${oc.env:HOME}"),
    "_args_": ([CANARY], CODE, 3),
    "_partial_": (True, False, 3),
    "_recursive_": (False, CODE),
    "_convert_": ("all", "object", "x"),
    "weights": (CANARY, "/dev/zero", "http://127.0.0.1:1/x", "file:///etc/passwd", CODE),
    "checkpoint": (CANARY, "/dev/zero"),
    "defaults": (["/etc/passwd"], [CODE]),
    "hydra": ({"run": {"dir": CANARY}}, CODE),
}
VICTIM = "victim"  # a folder beside the run that nothing may be written to
NAMES = ("<script>owned()</script>", "a\nb", "x" * 240, "\udcff", "javascript:owned()", "-rf", "%", "a b", "$x_", "..x")


@cache
def config() -> dict[str, Any]:
    return OmegaConf.to_container(composed("train", *tiny_here()), resolve=True)  # type: ignore[return-value]


@cache
def run_files() -> dict[str, bytes]:
    """The files of a run that loads, by their paths in its folder."""
    run, labels = RunFolder("made"), LabelSet("x", tuple("abcdef"))
    run.write_config(OmegaConf.create(config()))
    write_label_set(labels, run.data)
    task = make_task(OmegaConf.create(config()), labels)
    keep_weights(task.network, run.network)
    keep_weights(task.segmenter, run.segmenter)
    found = {str(path.relative_to(run.path)): path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    shutil.rmtree(run.path)
    return found


def hostile_config(rng: Random) -> dict[str, Any]:
    """A config with up to three changes, among them whatever Hydra takes for a directive."""
    found = config() | (PARTS if rng.random() < 0.2 else {})
    for _ in range(rng.choice((1, 1, 2, 3))):
        if rng.random() < 0.5:
            found = changed(rng, found, HOSTILE)
        else:
            found = copy.deepcopy(found)
            places = [node for node in nodes(found) if isinstance(node, dict)]
            key = rng.choice(list(DIRECTIVES))
            value = rng.choice((*DIRECTIVES[key], *(sorted(known_targets()) if key == "_target_" else ())))
            if places:
                rng.choice(places)[key] = copy.deepcopy(value)
        if not isinstance(found, dict):
            break
    return found


class Evil:
    """Pickled, it is a call."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __deepcopy__(self, memo: Any) -> "Evil":
        return self  # not a call yet

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
        if kind < 0.25:
            yield Try(f"read_config {number}", lambda s=seed: _config(Random(s)))
        elif kind < 0.45:
            yield Try(f"load_run {number}", lambda s=seed: _load(Random(s)))
        elif kind < 0.5:
            yield Try(f"evaluate {number}", lambda s=seed: _evaluate(Random(s)))
        elif kind < 0.65:
            yield Try(f"checkpoint {number}", lambda s=seed: _checkpoint(Random(s)))
        elif kind < 0.8:
            yield Try(f"report {number}", lambda s=seed: _report(Random(s)))
        elif kind < 0.9:
            yield Try(f"multirun {number}", lambda s=seed: _multirun(Random(s)))
        else:
            yield Try(f"links {number}", lambda s=seed: _links(Random(s)))


def _write_config(rng: Random, run: RunFolder) -> None:
    bomb = "a: &a [x,x,x]\n" + "".join(f"b{i}: &b{i} [*a,*a]\n" for i in range(9))
    text = json.dumps(hostile_config(rng)) if rng.random() < 0.95 else bomb
    content = text.encode(errors="surrogatepass")
    run.path.mkdir(exist_ok=True)
    run.config.write_bytes(damaged(rng, content) if rng.random() < 0.2 else content)


def _config(rng: Random) -> None:
    run = RunFolder("run")
    _write_config(rng, run)
    read_config(run, trust=False)


def _lay() -> RunFolder:
    """A run that loads, in a folder called run."""
    for name, content in run_files().items():
        path = Path("run", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return RunFolder("run")


def _load(rng: Random) -> None:
    run = _lay()
    kind = rng.random()
    if kind < 0.6:
        _write_config(rng, run)
    elif kind < 0.8:
        victim = run.path / rng.choice(list(run_files()))
        victim.write_bytes(damaged(rng, victim.read_bytes()))
    elif kind < 0.9:
        run.network.unlink()
        run.best.write_bytes(checkpoint(rng))
    else:
        run.data.write_text(json.dumps(changed(rng, json.loads(run.data.read_text()), HOSTILE)))
    if rng.random() < 0.5:
        load_run(run.path)
    else:
        command(["export", "run", "--to", rng.choice(("x.safetensors", "run/x.safetensors", "x.pt", "x"))], (0, 2))


def _evaluate(rng: Random) -> None:
    run = _lay()
    _write_config(rng, run)
    try:
        evaluate(composed("evaluate", *evaluation("run=run")), Path("run/evaluation"))
    except HydraException as error:  # Hydra itself ends the command, and prints this
        raise RefusedError(str(error)) from None


def _checkpoint(rng: Random) -> None:
    path = Path("last.ckpt")
    path.write_bytes(checkpoint(rng))
    load_weights_of(path)


def _report(rng: Random) -> None:
    run = write_run(Path("run"), examples=0)
    metrics = affinity_metrics() if rng.random() < 0.5 else json.loads((run / "metrics.json").read_text())
    kind = rng.randrange(6)
    if kind == 0:
        (run / "metrics.json").write_text(json.dumps(changed(rng, metrics, TEXTS)))
    elif kind == 1:
        data = json.loads((run / "data.json").read_text())
        (run / "data.json").write_text(json.dumps(changed(rng, data, TEXTS)))
    elif kind == 2:
        victim = rng.choice(
            ("metrics.json", "data.json", ".hydra/overrides.yaml", "config.yaml", "csv/version_0/metrics.csv")
        )
        (run / victim).write_bytes(damaged(rng, (run / victim).read_bytes()))
    elif kind == 3:
        found = changed(rng, {"a": {}, "../victim": {}, "javascript:x": {}, SCRIPT: {}}, TEXTS)
        (run / "universal.json").write_text(json.dumps(found))
    elif kind == 4:
        numbers = rng.choice(("nan", "inf", "-1e400", "1e308", "", "x", "1_0", "\0", "9" * 400, SCRIPT))
        text = f"epoch,step,{rng.choice((SCRIPT, 'train/loss', '', '$x_'))}\n0,{numbers},1\n1,2,{numbers}\n"
        (run / "csv" / "version_0" / "metrics.csv").write_text(text)
    else:
        one = arrays()
        name = rng.choice(list(one))
        other = rng.choice(
            (np.zeros(0), np.zeros((1, 1)), one[name].astype(float) * np.nan, np.array("x"), one["image"])
        )
        np.savez(run / "examples" / "00_x.npz", **{**one, name: other})
    _reported("run")


def _multirun(rng: Random) -> None:
    """A multirun whose jobs' scores, data, overrides and names are changed."""
    jobs = Path("run")
    for number in range(rng.choice((1, 2, 4))):
        metrics: Any = {"coarse": scores(0.7), "refined": scores(0.8)}
        overrides: Any = [f"seed={number}", f"propagation={rng.choice(('one_way', 'three_way'))}"]
        if rng.random() < 0.5:
            metrics = changed(rng, affinity_metrics() if rng.random() < 0.4 else metrics, TEXTS)
        if rng.random() < 0.4:
            overrides = rng.choice((["=", "seed"], [SCRIPT], ["x" * 5000], [f"a={LINK}"], ["\n=\n"], [], ["+a.b=$x_"]))
        write_job(jobs, number, overrides, metrics, rng.choice(("x", SCRIPT, None)))
    (jobs / "multirun.yaml").write_text("a: b")
    if rng.random() < 0.3:
        with contextlib.suppress(OSError):
            (jobs / "0").rename(jobs / rng.choice(NAMES))
    if rng.random() < 0.2:
        (jobs / "0" / "train.log").write_text(f"{SCRIPT}\nError: {SCRIPT}\n")
        (jobs / "0" / "metrics.json").unlink(missing_ok=True)
    _reported("run")


def _links(rng: Random) -> None:
    """A run in which a file or a folder is a link, a pipe, a device, or has an odd name."""
    Path(VICTIM).mkdir()
    Path(VICTIM, "kept").write_text("kept")
    run = write_run(Path("run"), examples=1)
    kind = rng.randrange(4)
    if kind == 0:
        with contextlib.suppress(OSError, ValueError):
            (run / "examples" / "00_image_0.npz").rename(run / "examples" / f"00_{rng.choice(NAMES)}.npz")
    elif kind == 1:
        for name in rng.sample(("figures", "report.html", "examples/00_x.npz", "csv/version_2"), 2):
            (run / name).parent.mkdir(exist_ok=True)
            (run / name).symlink_to(Path(VICTIM, *(["kept"] if "." in name else [])).resolve())
    else:
        files = ("metrics.json", "data.json", "config.yaml", ".hydra/overrides.yaml", "csv/version_0/metrics.csv")
        path = run / rng.choice((*files, "examples/00_image_0.npz", "examples/01_x.npz", "universal.json"))
        path.unlink(missing_ok=True)
        how = rng.randrange(4)
        if how == 0:
            os.mkfifo(path)
        elif how == 1:
            path.symlink_to(rng.choice(("/dev/zero", "/dev/stdin", "/etc/passwd", path.name, "nowhere")))
        elif how == 2:
            with path.open("wb") as file:
                file.truncate(1 << 36)  # takes no place on the disk
        else:
            path.mkdir()
    _reported("run")
    assert [path.name for path in Path(VICTIM).iterdir()] == ["kept"], "it wrote through a link"
    assert Path(VICTIM, "kept").read_text() == "kept", "it wrote through a link"


def _reported(folder: str) -> None:
    try:
        command(["report", folder], (0, 2))
    finally:
        _check_pages(Path(folder))


def _check_pages(folder: Path) -> None:
    for page in folder.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "<script>owned" not in text, f"{page} runs a script"
        assert 'href="javascript:' not in text, f"{page} runs a link"
