"""The files of a run."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from spatialprop.data.example import LabelSet
from spatialprop.files import write_beside


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
        described = {
            "name": labels.name,
            "classes": labels.classes,
            "ignore_index": labels.ignore_index,
            "scored_classes": labels.scored_classes,
            "images": images,
        }
        _write_json(self.data, described)

    def read_labels(self) -> LabelSet:
        """The classes of the data."""
        fields = json.loads(self.data.read_text())
        scored = fields["scored_classes"]
        return LabelSet(
            fields["name"], tuple(fields["classes"]), fields["ignore_index"], None if scored is None else tuple(scored)
        )

    def write_config(self, config: DictConfig) -> None:
        """Write the config, without interpolations."""
        with write_beside(self.config) as file:
            file.write(OmegaConf.to_yaml(config, resolve=True).encode())

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write the scores."""
        _write_json(self.metrics, metrics)


def point_latest_to(run: Path, outputs: Path) -> None:
    """Make `outputs/latest` a link to a run."""
    outputs.mkdir(exist_ok=True)
    latest, beside = outputs / "latest", outputs / f".latest.{run.name}"
    beside.unlink(missing_ok=True)
    beside.symlink_to(os.path.relpath(run.resolve(), outputs.resolve()), target_is_directory=True)
    beside.replace(latest)


def _write_json(path: Path, content: object) -> None:
    with write_beside(path) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())
