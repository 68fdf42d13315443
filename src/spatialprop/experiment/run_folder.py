"""The files of a run."""

import os
import secrets
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from spatialprop.files import write_file


class RunFolder:
    """The paths of the files of one run.

    Example:
        >>> RunFolder("outputs/refine/2026-01-31_12-00-00").metrics.name
        'metrics.json'
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.metrics = self.path / "metrics.json"
        self.data = self.path / "data.json"
        self.checkpoints = self.path / "checkpoints"
        self.best = self.checkpoints / "best.ckpt"
        self.last = self.checkpoints / "last.ckpt"
        self.network = self.checkpoints / "network.safetensors"
        self.segmenter = self.checkpoints / "segmenter.safetensors"
        self.coarse = self.path / "coarse"
        self.examples = self.path / "examples"
        self.ranked = self.path / "ranked"
        self.failures = self.path / "failures"
        self.predictions = self.path / "predictions"

    def write_config(self, config: DictConfig) -> None:
        """Write the config, without interpolations."""
        write_file(self.config, OmegaConf.to_yaml(config, resolve=True))


def point_latest_to(run: Path, outputs: Path) -> None:
    """Make `outputs/latest` a link to a run."""
    outputs.mkdir(exist_ok=True)
    beside = outputs / f".{secrets.token_hex(8)}.latest"  # several processes of one run do this at once
    beside.symlink_to(os.path.relpath(run.resolve(), outputs.resolve()), target_is_directory=True)
    beside.replace(outputs / "latest")
