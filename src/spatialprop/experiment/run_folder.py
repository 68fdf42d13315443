"""Where a run keeps what."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spatialprop.data.example import LabelSet
from spatialprop.data.files import write_beside


class RunFolder:
    """The files of one run.

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
        """Write what the data are, and how many images are tested on."""
        described = {
            "name": labels.name,
            "classes": labels.classes,
            "ignore_index": labels.ignore_index,
            "scored_classes": labels.scored_classes,
            "images": images,
        }
        _write_json(self.data, described)

    def read_labels(self) -> LabelSet:
        """The classes of a run's data."""
        fields = json.loads(self.data.read_text())
        scored = fields["scored_classes"]
        return LabelSet(
            fields["name"], tuple(fields["classes"]), fields["ignore_index"], None if scored is None else tuple(scored)
        )

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write the scores."""
        _write_json(self.metrics, metrics)


def _write_json(path: Path, content: object) -> None:
    with write_beside(path) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())
