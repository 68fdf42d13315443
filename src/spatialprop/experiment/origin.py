"""When, where and by which versions a run's scores were made."""

import os
import platform
import subprocess
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

_CHECKOUT = Path(__file__).parents[3]
_PACKAGES = ("spatialprop", "torch", "pytorch-lightning", "torchmetrics", "numpy")


def origin(started: datetime) -> dict[str, Any]:
    """What a run writes beside its scores, in plain values."""
    return {
        "started": started.isoformat(timespec="seconds"),
        "seconds": round((datetime.now() - started).total_seconds(), 1),
        "machine": machine(),
        "commit": commit(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
    }


def machine() -> str:
    """Processor, cores and accelerator, in words."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(errors="replace").splitlines()
        processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), processor)
    count = torch.cuda.device_count()
    devices = f", {count} x {torch.cuda.get_device_name(0)}" if count else ""
    return f"{processor}, {os.cpu_count()} cores{devices}"


def commit() -> str | None:
    """The commit of the checkout that this package runs from, and whether it was changed; None if it is installed."""
    if not (_CHECKOUT / ".git").exists():
        return None

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(_CHECKOUT), *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + (", changed" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
