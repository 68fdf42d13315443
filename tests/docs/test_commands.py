"""Every command in docs/ is one that exists: its overrides compose, its experiments and options are there."""

import re
import shlex
from pathlib import Path

import pytest

from spatialprop.cli import main as spatialprop
from spatialprop.cli.data_config import compose_config
from tests.experiment.tiny import REPOSITORY, composed

DOCS = sorted((REPOSITORY / "docs").glob("*.md"))
COMMAND = re.compile(
    r"^ {4}(?:srun |torchrun .*? )?(?:python )?((?:train\.py|evaluate\.py|spatialprop) .*?)(?: {2,}#.*)?$"
)


def commands():
    for path in DOCS:
        for line in path.read_text().splitlines():
            found = COMMAND.match(line)
            if found:
                yield pytest.param(shlex.split(found[1], comments=True), id=f"{path.stem}: {found[1][:60]}")


@pytest.mark.parametrize("words", list(commands()))
def test_command(words):
    program, *arguments = words
    if program in ("train.py", "evaluate.py"):
        overrides = [word for word in arguments if not word.startswith(("--", "hydra"))]
        if "--multirun" in arguments:
            overrides = [override.split(",")[0] for override in overrides]
        composed(program.removesuffix(".py"), *overrides)
    elif arguments[:2] == ["data", "predict"]:
        options = arguments[2:]
        flags = {"--to": 1, "--splits": 1}
        overrides = []
        while options:
            word = options.pop(0)
            if word in flags:
                options.pop(0)
            else:
                overrides.append(word)
        assert all("=" in override for override in overrides)
        assert compose_config(overrides).segmenter.network is not None
    else:
        named = arguments[:2] if arguments[0] == "data" else arguments[:1]
        with pytest.raises(SystemExit) as stopped:
            spatialprop([*named, "--help"])
        assert stopped.value.code == 0


def test_commands_are_found():
    """A pattern that matched nothing would check nothing."""
    assert len(list(commands())) > 20


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / Path(target)).exists(), target


def test_every_paper_experiment_is_in_the_guide():
    guide = (REPOSITORY / "docs" / "reproducing.md").read_text()
    for path in (REPOSITORY / "conf" / "experiment").glob("*.yaml"):
        if path.stem.startswith(("helen_", "voc_")):
            assert f"experiment={path.stem}" in guide
