"""A share of the attack, the same in every run. The rest: make attack."""

from importlib import import_module
from itertools import islice
from random import Random

import pytest

from tests.attack.judge import CANARY, REFUSALS, Try, judged

SHARES = {
    "files": 40, "formats": 30, "calls": 40, "values": 40, "archives": 30, "runs": 30, "servers": 30, "page": 30,
    "hub": 30, "lines": 20,
}  # fmt: skip
NEEDS = {"formats": ("rasterio", "pycocotools"), "page": ("starlette", "uvicorn"), "hub": ("huggingface_hub",)}


@pytest.mark.parametrize("name", SHARES)
def test_every_try_is_taken_or_refused_in_words(name):
    for package in NEEDS.get(name, ()):
        pytest.importorskip(package)
    generator = import_module(f"tests.attack.{name}")
    wrong = []
    for one in islice(generator.tries(Random(0)), SHARES[name]):
        verdict = judged(one)
        if verdict.kind == "wrong":
            wrong.append(f"{one.name}: {verdict.why}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (lambda: None, "taken"),
        (lambda: int("x"), "refused"),
        (lambda: {}["x"], "wrong"),
        (lambda: open(CANARY, "w").close(), "wrong"),
        (lambda: open(".x.part", "w").close(), "wrong"),
        (lambda: print("set weights_only=False"), "wrong"),
        (lambda: (_ for _ in ()).throw(ValueError()), "wrong"),
    ],
)
def test_the_judge_knows_right_from_wrong(act, kind):
    assert judged(Try("x", act)).kind == kind
    assert KeyError not in REFUSALS
