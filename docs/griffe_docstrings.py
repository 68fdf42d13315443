"""An extension of Griffe: what docstrings write for a terminal, as Markdown for the site."""

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^(\s*)Example:$", re.MULTILINE)
LITERAL = re.compile(r"::$", re.MULTILINE)
TIMES = re.compile(r"(?<=\w)\*(?=\w)")
TABLE = re.compile(r"^=+ [= ]+\n.*?^=+ [= ]+\n(?=\s*$)", re.MULTILINE | re.DOTALL)


class Docstrings(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is None:
            return
        text = EXAMPLE.sub(r"\1Examples:", obj.docstring.value)
        text = LITERAL.sub(":", text)
        text = "\n".join(
            line if line.lstrip().startswith((">>>", "...")) else TIMES.sub(r"\\*", line) for line in text.split("\n")
        )
        obj.docstring.value = TABLE.sub(lambda found: f"```text\n{found[0]}```\n", text)
