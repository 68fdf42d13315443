"""Which run is the newest."""

import os
from pathlib import Path


def newest_run(outputs: Path, name: str) -> Path | None:
    """The newest run of a name that can be gone on with, None if there is none."""
    runs = [path for path in (outputs / name).glob("*") if any(path.glob("checkpoints/**/last.ckpt"))]
    return max(runs, default=None)


def point_latest_to(run: Path, outputs: Path) -> None:
    """Make `outputs/latest` lead to a run."""
    outputs.mkdir(exist_ok=True)
    latest, beside = outputs / "latest", outputs / f".latest.{run.name}"
    beside.unlink(missing_ok=True)
    beside.symlink_to(os.path.relpath(run.resolve(), outputs.resolve()), target_is_directory=True)
    beside.replace(latest)
