"""How much memory is left, so that what cannot fit is refused before it is tried."""

from pathlib import Path

from spatialprop.errors import InputError

_MEMORY = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")  # of a container, seen from within
_UNKNOWN = 1 << 62


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
