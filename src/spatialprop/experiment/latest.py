"""Which run is the newest."""

import os
from pathlib import Path


def newest_run(outputs: Path, name: str) -> Path | None:
    """The newest run of a name, None if there is none.

    It may have been stopped before its first checkpoint; to go on with an older one would be to change what is done.
    """
    return max((path.parent for path in (outputs / name).glob("*/config.yaml")), default=None)


def point_latest_to(run: Path, outputs: Path) -> None:
    """Make `outputs/latest` lead to a run."""
    outputs.mkdir(exist_ok=True)
    latest, beside = outputs / "latest", outputs / f".latest.{run.name}"
    beside.unlink(missing_ok=True)
    beside.symlink_to(os.path.relpath(run.resolve(), outputs.resolve()), target_is_directory=True)
    beside.replace(latest)
