"""Files that are written whole or not at all."""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

_LINE = 150  # characters


@contextmanager
def write_beside(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that replaces `path` once it is complete, and is deleted if anything fails.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "numbers.txt")
        >>> with write_beside(path) as file:
        ...     _ = file.write(b"1 2 3")
        ...     path.exists()
        False
        >>> path.read_text()
        '1 2 3'
    """
    beside = path.with_name(f".{secrets.token_hex(8)}.part")  # several processes and machines may write at once
    try:
        with _nameless(path.parent) or beside.open("wb") as file:
            yield file
            file.flush()
            if not beside.exists():
                # Only with a descriptor given does Python follow the link that stands for the file.
                os.link(f"/proc/self/fd/{file.fileno()}", beside, src_dir_fd=file.fileno(), follow_symlinks=True)
        beside.replace(path)
    except BaseException as error:
        beside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == str(beside):
            error.filename = str(path)  # the caller does not know the temporary name
        raise


def _nameless(folder: Path) -> BinaryIO | None:
    """A new file without a name, of which nothing is left if the process is killed; None where there are none."""
    if not hasattr(os, "O_TMPFILE") or not os.path.exists("/proc/self/fd"):
        return None
    try:
        return os.fdopen(os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o666), "wb")
    except OSError:  # network disks have none; what else is wrong, the next attempt will tell
        return None


def write_file(path: Path, content: str | bytes) -> Path:
    """Write a whole file, and its folder if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_beside(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)
    return path


def write_json(path: Path, value: Any) -> Path:
    """Write a value as `packed` JSON."""
    return write_file(path, packed(value) + "\n")


def packed(value: Any, indent: str = "") -> str:
    """JSON with one line for each list of numbers or strings, and for whatever else fits on one.

    Example:
        >>> print(packed({"sizes": [1, 2, 3], "scores": {"mIoU": 0.5}, "notes": ["x" * 70, {"long": "y" * 80}]}))
        {
         "sizes": [1, 2, 3],
         "scores": {"mIoU": 0.5},
         "notes": [
          "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
          {"long": "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"}
         ]
        }
    """
    line = json.dumps(value)
    flat = isinstance(value, list | tuple) and not any(isinstance(part, dict | list | tuple) for part in value)
    if not isinstance(value, dict | list | tuple) or not value or flat or len(indent) + len(line) <= _LINE:
        return line
    inner = indent + " "
    if isinstance(value, dict):
        keys = [json.loads(json.dumps({key: 0})).popitem()[0] for key in value]  # as JSON writes them: strings
        parts = [f"{json.dumps(key)}: {packed(part, inner)}" for key, part in zip(keys, value.values(), strict=True)]
        start, end = "{", "}"
    else:
        parts, start, end = [packed(part, inner) for part in value], "[", "]"
    return f"{start}\n{inner}" + f",\n{inner}".join(parts) + f"\n{indent}{end}"
