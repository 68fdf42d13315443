"""Hooks of MkDocs: the site shows pages where they live in the repository, without a copy in docs/.

README.md is the home page. Each page, picture and source file that a page links to is added under its path in the
repository, and links are rewritten to it. What cannot be shown (a folder) loses its link and keeps its text.
"""

import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "notebooks/tour.ipynb"]
SHOWN_AS_CODE = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".cu": "cuda", "": "text"}
SOURCES: dict[str, str] = {}  # from a page's place in the site to its path in the repository
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\]\([^)]*\))*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
CODE = re.compile(r"(^```.*?^```|`[^`\n]+`(?!\]))", re.MULTILINE | re.DOTALL)


def in_site(path: str) -> str:
    """The place in the site of a file of the repository."""
    if path == "README.md":
        return "index.md"
    path = path.removeprefix("docs/")
    suffix = posixpath.splitext(path)[1]
    if suffix == ".ipynb":
        return path.removesuffix(suffix) + ".md"
    return f"{path}.md" if suffix in SHOWN_AS_CODE else path


def linked(path: str) -> Iterator[str]:
    """The files of the repository that a page links to."""
    for _, text, target, _ in LINK.findall((REPOSITORY / path).read_text()):
        for found in (target, *(inner[2] for inner in LINK.findall(text))):
            if "://" not in found:
                yield posixpath.normpath(posixpath.join(posixpath.dirname(path), found))


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the data sets, so that a new one need not be named in mkdocs.yml."""
    pages = sorted(REPOSITORY.glob("data/*/README.md"))
    for section in config.nav or ():
        if "Data sets" in section:
            section["Data sets"] = [{path.parent.name: path.relative_to(REPOSITORY).as_posix()} for path in pages]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    pending = [*PAGES, *(f"docs/{file.src_uri}" for file in files.documentation_pages())]
    pending += [path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.glob("data/*/README.md")]
    seen = set()
    while pending:
        path = pending.pop()
        if path in seen or not (REPOSITORY / path).is_file():
            continue
        seen.add(path)
        SOURCES[in_site(path)] = path
        if path.endswith(".md"):
            pending += linked(path)
        place, suffix = in_site(path), posixpath.splitext(path)[1]
        if files.get_file_from_path(place):
            continue
        if suffix == ".ipynb":
            files.append(File.generated(config, place, content=notebook_as_page(REPOSITORY / path)))
        elif suffix in SHOWN_AS_CODE:
            text = (REPOSITORY / path).read_text()
            content = f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n\n````{SHOWN_AS_CODE[suffix]}\n{text}\n````\n"
            files.append(File.generated(config, place, content=content))
        else:
            files.append(File.generated(config, place, abs_src_path=str(REPOSITORY / path)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    here = page.file.src_uri
    path = SOURCES.get(here, f"docs/{here}")

    def rewritten(found: re.Match[str]) -> str:
        mark, text, target, anchor = found.groups()
        text = LINK.sub(rewritten, text)
        if "://" in target:
            return found[0]
        name = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        place = in_site(name)
        if files.get_file_from_path(place):
            return f"{mark}[{text}]({posixpath.relpath(place, posixpath.dirname(here) or '.')}{anchor or ''})"
        return text if (REPOSITORY / name).exists() else found[0]

    parts = CODE.split(markdown)
    return "".join(part if number % 2 else LINK.sub(rewritten, part) for number, part in enumerate(parts))


def notebook_as_page(path: Path) -> str:
    """The cells of a notebook and their stored outputs."""
    parts = []
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                image = "".join(data["image/png"]).replace("\n", "")
                parts.append(f'<img alt="Output of the cell above" src="data:image/png;base64,{image}">')
            elif said := "".join(output.get("text", data.get("text/plain", ""))):
                parts.append(f"```text\n{said}\n```")
    return "\n\n".join(parts) + "\n"
