"""How much memory is left, so that what cannot fit is refused before it is tried; and what is freed is kept."""

from pathlib import Path

import numpy as np

from spatialprop.errors import InputError

_MEMORY = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")  # of a container, seen from within
_UNKNOWN = 1 << 62
_LARGEST = (32 << 20) - (64 << 10)  # bytes; glibc takes no larger piece for its measure


def memory_left() -> int:
    """Bytes that this process may still take without anything being swapped or killed; very many if nobody tells."""
    left = _UNKNOWN
    try:
        lines = dict(line.split(":", 1) for line in _MEMORY.read_text().splitlines())
        left = int(lines["MemAvailable"].split()[0]) << 10
        most, used = ((_GROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        left = left if most == "max" else min(left, max(0, int(most) - int(used)))
    except (OSError, ValueError, KeyError):
        pass  # another system, or no container
    return left


def refuse_too_much(wanted: int, what: str, fix: str) -> None:
    """Refuse what needs more memory than is left.

    Args:
        wanted: About how many bytes it needs.
        what: What needs them.
        fix: What needs less.
    """
    left = memory_left()
    if wanted > left:
        raise InputError(f"{what} needs about {wanted / 1e9:.1f} GB of memory, {left / 1e9:.1f} GB are left: {fix}")


def keep_freed_memory() -> None:
    """Let the C library keep what is freed for the maps that come next, up to 64 MiB, in place of fresh pages.

    How much glibc keeps follows from the largest piece that it has seen freed: a single one, of which nothing is
    touched, is enough for the life of the process. Elsewhere, and where MALLOC_TRIM_THRESHOLD_ is set, nothing changes.
    """
    np.empty(_LARGEST, np.uint8)
