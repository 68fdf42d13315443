"""The documentation says what is there: its commands, choices, links and names exist."""

import inspect
import re
import shlex
from importlib import import_module

import pytest
import yaml

import spatialprop.ops
from spatialprop.cli import main
from spatialprop.cli.data.config import compose_config, data_overrides
from tests.experiment.tiny import REPOSITORY, composed

PAGES = sorted(
    path
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "data/*/*.md",
        "src/**/*.md",
        "benchmarks/*.md",
        "examples/*.md",
        "results/**/*.md",
    )
    for path in REPOSITORY.glob(pattern)
)
DOCS = [path for path in PAGES if "results" not in path.parts]
COMMAND = re.compile(
    r"^ {4}(?:srun |torchrun .*? )?(?:python )?((?:train\.py|evaluate\.py|spatialprop) .*?)(?: &)?(?: {2,}#.*)?$"
)


def commands():
    """Each command once, named after the first page that has it."""
    seen = set()
    for path in DOCS:
        for line in re.sub(r" \\\n +", " ", path.read_text()).splitlines():
            found = COMMAND.match(line)
            if found and found[1] not in seen:
                seen.add(found[1])
                yield pytest.param(
                    shlex.split(found[1], comments=True), id=f"{path.parent.name}/{path.stem}: {found[1][:60]}"
                )


def parsed(arguments, monkeypatch):
    """What a sub-command would be run with."""
    seen = []
    monkeypatch.setattr(
        import_module(f"spatialprop.cli.{arguments[0]}"), "run", lambda options: seen.append(options) or 0
    )
    assert main(arguments) == 0
    return seen[0]


@pytest.mark.parametrize("words", list(commands()))
def test_command(words, monkeypatch):
    program, *arguments = words
    if program == "spatialprop" and arguments[0] in ("train", "evaluate"):
        program, *arguments = f"{arguments[0]}.py", *arguments[1:]
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


def test_choices_in_the_guide_exist():
    """The guide need not name all of them: `python train.py --help` does."""
    guide = (REPOSITORY / "docs" / "training.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)`[^|]*\| ([^|]*) \|", guide, re.MULTILINE))
    for group in (path for path in (REPOSITORY / "conf").iterdir() if path.is_dir() and path.name in rows):
        named = set(re.findall(r"`(\w+)`", rows[group.name]))
        assert named <= {path.stem for path in group.glob("*.yaml")}, group.name


def test_every_public_name_is_in_the_reference():
    """A page shows what the `__all__` of a package names, with its docstring."""
    pages = "".join(path.read_text() for path in (REPOSITORY / "docs" / "api").glob("*.md"))
    shown = set(re.findall(r"^::: (\S+)$", pages, re.MULTILINE))
    # Those of the base install: the others would import Lightning.
    faces = [import_module(f"spatialprop.{name}") for name in ("ops", "nn", "refiner", "values")]
    assert {face.__name__ for face in faces} <= shown
    assert set(spatialprop.__all__) <= {name for face in faces for name in face.__all__}
    for face in faces:
        for name in face.__all__:
            value = getattr(face, name)
            has_own = inspect.isclass(value) or inspect.isroutine(value)  # types of several kinds have none
            assert not has_own or value.__doc__, f"{face.__name__}.{name} has no docstring to show"


def test_every_page_of_the_site_exists():
    """`make docs` says so too, in longer."""

    def pages(entry):
        if isinstance(entry, str):
            yield entry
        for part in entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else ():
            yield from pages(part)

    elsewhere = {"index.md": "README.md", "notebooks/tour.md": "notebooks/tour.ipynb"}
    for page in pages(yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())["nav"]):
        path = elsewhere.get(page, page)
        assert (REPOSITORY / path).is_file() or (REPOSITORY / "docs" / path).is_file(), page
