"""Files that are never half-written."""

from spatialprop.files import write_beside

__all__ = ["write_beside"]
