"""Every command in the documentation exists: its overrides compose, its experiments and options are there."""

import re
import shlex
from importlib import import_module

import pytest

from spatialprop.cli import main as spatialprop
from spatialprop.cli.data.config import compose_config, data_overrides
from tests.experiment.tiny import REPOSITORY, composed

DOCS = [REPOSITORY / "README.md", *sorted(REPOSITORY.glob("docs/*.md")), *sorted(REPOSITORY.glob("data/*/README.md"))]
COMMAND = re.compile(
    r"^ {4}(?:srun |torchrun .*? )?(?:python )?((?:train\.py|evaluate\.py|spatialprop) .*?)(?: {2,}#.*)?$"
)


def commands():
    for path in DOCS:
        for line in path.read_text().splitlines():
            found = COMMAND.match(line)
            if found:
                yield pytest.param(
                    shlex.split(found[1], comments=True), id=f"{path.parent.name}/{path.stem}: {found[1][:60]}"
                )


def parsed(arguments, monkeypatch):
    """What a sub-command would be run with."""
    seen = []
    monkeypatch.setattr(
        import_module(f"spatialprop.cli.{arguments[0]}"), "run", lambda options: seen.append(options) or 0
    )
    assert spatialprop(arguments) == 0
    return seen[0]


@pytest.mark.parametrize("words", list(commands()))
def test_command(words, monkeypatch):
    program, *arguments = words
    if program in ("train.py", "evaluate.py"):
        overrides = [word for word in arguments if not word.startswith(("--", "hydra"))]
        if "--multirun" in arguments:
            overrides = [override.split(",")[0] for override in overrides]
        composed(program.removesuffix(".py"), *overrides)
        return
    options = parsed(arguments, monkeypatch)
    if arguments[:2] == ["data", "predict"]:
        assert compose_config(options.settings).segmenter.network is not None
    elif hasattr(options, "settings"):
        compose_config(data_overrides(options.name, options.settings))


def test_commands_are_found():
    """A pattern that matched nothing would check nothing."""
    assert len(list(commands())) > 20


PAGES = sorted(
    path
    for path in REPOSITORY.rglob("*.md")
    if not any(
        part.startswith(".") or part in ("outputs", "multirun", "site", "build")
        for part in path.relative_to(REPOSITORY).parts
    )
)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_relative_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", target):
            assert (path.parent / target).exists(), target


def test_the_front_page_leads_to_the_guide():
    assert "](docs/reproducing.md)" in (REPOSITORY / "README.md").read_text()


def test_every_paper_experiment_is_in_the_guide():
    guide = (REPOSITORY / "docs" / "reproducing.md").read_text()
    for path in (REPOSITORY / "conf" / "experiment").glob("*.yaml"):
        if path.stem.startswith(("helen_", "voc_")):
            assert f"experiment={path.stem}" in guide
