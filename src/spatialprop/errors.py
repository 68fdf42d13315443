"""The error for input that cannot be used, and for packages that are missing."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class InputError(ValueError):
    """An image, a coarse map or a file cannot be used; the message says what would make it usable."""


@contextmanager
def needs_extra(need: str, extra: str) -> Iterator[None]:
    """Say which extra brings a package that cannot be imported.

    Args:
        need: What needs which package, in words.
        extra: The extra of this package that has it.
    """
    try:
        yield
    except ImportError:
        raise ImportError(f"{need}: pip install 'spatialprop[{extra}]'") from None


@contextmanager
def reading(path: Path, what: str, fix: str) -> Iterator[None]:
    """Turn every error while a file is read into an `InputError` that names the file.

    Args:
        path: The file, which must exist.
        what: What it is read as, such as "an image".
        fix: What to do about a damaged file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except MemoryError:
        raise
    except Exception as error:  # decoders of damaged files raise anything
        raise InputError(f"{path} cannot be read as {what}: {error or type(error).__name__}; {fix}") from None
