"""Files that are never half-written."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def write_beside(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of `path` once it is complete, and vanishes if it never is.

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
    beside = path.with_name(f".{secrets.token_hex(8)}.part")  # writers may be many, on many machines
    try:
        with beside.open("wb") as file:
            yield file
        beside.replace(path)
    except BaseException as error:
        beside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == str(beside):
            error.filename = str(path)  # nobody knows the other
        raise
