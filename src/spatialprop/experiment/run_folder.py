"""The files of a run."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from spatialprop.data import LabelSet, read_label_set, write_label_set
from spatialprop.files import write_file, write_json


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
        self.network = self.checkpoints / "network.safetensors"
        self.segmenter = self.checkpoints / "segmenter.safetensors"
        self.coarse = self.path / "coarse"
        self.examples = self.path / "examples"
        self.ranked = self.path / "ranked"
        self.failures = self.path / "failures"
        self.predictions = self.path / "predictions"

    def write_labels(self, labels: LabelSet, images: int) -> None:
        """Write the classes of the data, and the number of test images."""
        write_label_set(labels, self.data, images=images)

    def read_labels(self) -> LabelSet:
        """The classes of the data."""
        return read_label_set(self.data)

    def write_config(self, config: DictConfig) -> None:
        """Write the config, without interpolations."""
        write_file(self.config, OmegaConf.to_yaml(config, resolve=True))

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write the scores."""
        write_json(self.metrics, metrics)


def point_latest_to(run: Path, outputs: Path) -> None:
    """Make `outputs/latest` a link to a run."""
    outputs.mkdir(exist_ok=True)
    latest, beside = outputs / "latest", outputs / f".latest.{run.name}"
    beside.unlink(missing_ok=True)
    beside.symlink_to(os.path.relpath(run.resolve(), outputs.resolve()), target_is_directory=True)
    beside.replace(latest)
