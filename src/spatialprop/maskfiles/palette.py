"""Text files that give classes their colours."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spatialprop.errors import InputError

_MOST_CLASSES = 65536
_LARGEST = 1 << 23  # bytes


@dataclass(frozen=True)
class Palette:
    """Colours and names of classes, in the order of their indices."""

    colours: NDArray[np.uint8]  # (K, 3)
    names: tuple[str, ...]


def read_palette(path: Path) -> Palette:
    """Read a text file with a class on each line: red, green, blue from 0 to 255, and an optional name.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "classes.txt")
        >>> _ = path.write_text("# red green blue name\\n0 0 0 ground\\n128,64,128,road\\n")
        >>> read_palette(path).names
        ('ground', 'road')
    """
    if not path.is_file():  # a pipe or a device would never end
        raise FileNotFoundError(f"{path} is not a file; a palette is a text file with a line for each class")
    if path.stat().st_size > _LARGEST:
        raise InputError(f"{path} has more than {_LARGEST} bytes, as no palette of {_MOST_CLASSES} classes has")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file; a palette holds a line 'red green blue name' a class") from None
    colours: list[list[int]] = []
    names: list[str] = []
    lines: dict[tuple[int, ...], int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = re.split(r"[\s,;]+", line.strip(), maxsplit=3)
        if len(words) < 3 or not all(re.fullmatch(r"[0-9]{1,3}", word) and int(word) < 256 for word in words[:3]):
            raise InputError(f"line {number} of {path} must be 'red green blue name', each from 0 to 255; got {line!r}")
        colours.append([int(word) for word in words[:3]])
        first = lines.setdefault(tuple(colours[-1]), number)
        if first != number:
            raise InputError(f"lines {first} and {number} of {path} give two classes one colour, {line.strip()!r}")
        names.append(words[3] if len(words) > 3 else str(len(names)))
    if not 2 <= len(colours) <= _MOST_CLASSES:
        raise InputError(f"{path} must give from 2 to {_MOST_CLASSES} classes a colour; it has {len(colours)} lines")
    return Palette(np.array(colours, np.uint8), tuple(names))
