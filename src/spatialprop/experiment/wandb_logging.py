"""Runs on wandb: curves, masks over images, the table of scores, the report."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import WandbLogger

from spatialprop.data import LabelSet
from spatialprop.experiment.run_folder import RunFolder


def make_wandb_logger(config: DictConfig, folder: Path) -> WandbLogger:
    """A wandb logger whose summary holds the best score; offline it needs no account."""
    try:
        import wandb  # noqa: F401
    except ImportError:
        raise ImportError("logger=wandb needs wandb: pip install 'spatialprop[wandb]'") from None
    options = config.logger
    logger = WandbLogger(
        name=f"{config.name}_{folder.name}",
        save_dir=folder,
        project=options.project,
        entity=options.entity,
        group=options.group,
        tags=list(options.tags),
        offline=options.offline,
        log_model=False,  # True is refused offline; checkpoints stay in the run's folder
        config=OmegaConf.to_container(config, resolve=True),
    )
    for metric in ("val/coarse_mIoU", "val/refined_mIoU"):
        logger.experiment.define_metric(metric, summary="max")
    return logger


def log_results(logger: WandbLogger, run: RunFolder, metrics: Mapping[str, Any], labels: LabelSet, images: int) -> None:
    """Send the scores as a table, test images with their masks, and the report."""
    import wandb

    names = ["mIoU", "pixel_accuracy", "mean_accuracy", "boundary_IoU"]
    rows = [[method, *(scores.get(name) for name in names)] for method, scores in metrics.items()]
    logger.log_table("test/comparison", columns=["method", *names], data=rows)
    for method, scores in metrics.items():
        for name in names:
            logger.experiment.summary[f"test/{method}/{name}"] = scores.get(name)

    class_labels = dict(enumerate(labels.classes))
    overlays = []
    for path in sorted(run.examples.glob("*.npz"))[:images]:
        with np.load(path, allow_pickle=False) as example:
            masks = {
                name: {"mask_data": example[name], "class_labels": class_labels}
                for name in ("label", "coarse", "refined")
                if name in example
            }
            overlays.append(wandb.Image(example["image"], masks=masks, caption=path.stem))
    if overlays:
        logger.experiment.log({"test/examples": overlays})

    report = wandb.Artifact(f"report-{logger.experiment.id}", type="report")
    report.add_file(str(run.path / "report.html"))
    logger.experiment.log_artifact(report)
