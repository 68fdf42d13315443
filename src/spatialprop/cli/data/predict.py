"""`spatialprop data predict`: write a segmenter's coarse maps of a data set."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from torch import nn

EXAMPLES = """examples:
  spatialprop data predict data=voc data.root=DIR segmenter=fcn8s segmenter.network.weights=FILE --to COARSE
  spatialprop data predict data=folder data.root=DIR segmenter.checkpoint=outputs/segment/RUN --to COARSE trainer=gpu
then:
  python train.py data=voc data.root=DIR data.coarse=COARSE segmenter=files
Maps that exist are skipped: after an interruption, give the same command again."""

MADE_BY = "segmenter.json"  # lies beside the maps and names their segmenter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("settings", nargs="+", metavar="key=value", help="as for train.py: data=..., segmenter=...")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="gets <split>/<name>.npz")
    parser.add_argument(
        "--splits", nargs="+", choices=["train", "val", "test"], default=["train", "val", "test"], help="default: all"
    )


def run(options: argparse.Namespace) -> int:
    from spatialprop.cli.data.config import compose_config, open_splits, unwrapped

    config = compose_config(options.settings)
    import torch

    from spatialprop.data import CoarseFiles
    from spatialprop.data.sets import FileExamples
    from spatialprop.experiment.coarse import coarse_device, loaded_segmenter, map_stride, predict

    splits = open_splits(config)
    parts = [getattr(splits, name) for name in options.splits]
    if not all(isinstance(part, FileExamples) for part in parts):
        raise ValueError(
            f"data={splits.labels.name} lies in no files, and reads no coarse maps from any; choose another data set"
        )
    network = unwrapped(lambda: loaded_segmenter(config, splits.labels))
    _claim(options.to, _made_by(config, network, splits.labels.name))
    device = coarse_device(config)
    network = network.to(device)
    torch.manual_seed(config.seed)
    written = 0
    for part in parts:
        split_of = {entry.name: entry.split for entry in part.entries}
        maps = CoarseFiles(options.to, splits.labels, split_of)
        written += predict(network, part, maps, device, stride=map_stride(config))
    print(f"{written} coarse maps written to {options.to}; to use them: data.coarse={options.to} segmenter=files")
    return 0


def _made_by(config: DictConfig, network: nn.Module, data: str) -> dict[str, Any]:
    """The description of the segmenter, so that no folder mixes the maps of two."""
    from omegaconf import OmegaConf

    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    settings: Any = OmegaConf.to_container(config.segmenter.network, resolve=True)
    settings.pop("weights", None)  # the same weights make the same maps wherever they were read from
    return {"data": data, "network": settings, "weights_sha256": digest.hexdigest()}


def _claim(folder: Path, made_by: dict[str, Any]) -> None:
    """Write the description of the segmenter into the folder; refuse a folder with another one's maps."""
    from spatialprop.files import write_file

    path = folder / MADE_BY
    if path.is_file():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is damaged: {error}; delete {folder} or give another folder") from None
        differing = [key for key, value in made_by.items() if before.get(key) != value]
        if differing:
            raise ValueError(
                f"{folder} holds the coarse maps of another segmenter or data set ({', '.join(differing)} differ, "
                f"see {path}); give another folder"
            )
        return
    if any(folder.glob("*/*.np[yz]")):
        raise ValueError(
            f"{folder} holds coarse maps, but no {MADE_BY} that names their segmenter; give another folder"
        )
    write_file(path, json.dumps(made_by, indent=2) + "\n")
