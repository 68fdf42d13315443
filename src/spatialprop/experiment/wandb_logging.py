"""Runs on wandb: curves, masks over images, scores, weights, the report. docs/wandb.md shows what it looks like."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import WandbLogger
from torch import Tensor

from spatialprop.callbacks import image_and_masks, image_and_pictures
from spatialprop.data import LabelSet
from spatialprop.errors import needs_extra
from spatialprop.experiment.run_folder import RunFolder
from spatialprop.report import VALUES, read_curves, trimap
from spatialprop.tasks import Values

SCORES = ("mIoU", "pixel_accuracy", "mean_accuracy", "boundary_IoU", "milliseconds")
CHANGES = ("changed", "right", "wrong")
HIGHER_IS_BETTER = ("PSNR", "SSIM")  # of the scores of values
LONGEST_NAME = 100  # letters


class LoginError(Exception):
    """Nobody is logged in to wandb, and a run is to go online."""


def make_wandb_logger(config: DictConfig, folder: Path) -> WandbLogger:
    """A wandb logger whose summary holds the best score; offline it needs no account."""
    with needs_extra("logger=wandb needs wandb", "wandb"):
        import wandb
    options = config.logger
    logger = WandbLogger(
        name=options.get("name") or run_name(config, folder),
        save_dir=folder,
        project=options.project,
        entity=options.entity,
        group=options.group or sweep_name(),
        job_type=config.task.name,
        tags=sorted({*map(str, options.tags), config.task.name, *tags_of(config)}),
        offline=options.offline,
        log_model=False,  # it would upload every checkpoint; the weights that are kept go up at the end
        config=OmegaConf.to_container(config, resolve=True),
    )
    try:
        run = logger.experiment  # starts it
    except wandb.errors.Error as error:
        raise LoginError(
            f"wandb does not start ({' '.join(str(error).split())}): wandb login, or leave logger.offline=true"
        ) from None
    for metric in ("val/coarse_mIoU", "val/refined_mIoU"):
        run.define_metric(metric, summary="max")
    for score in VALUES:
        run.define_metric(f"val/refined_{score}", summary="max" if score in HIGHER_IS_BETTER else "min")
    run.define_metric("segmenter/step")
    run.define_metric("segmenter/*", step_metric="segmenter/step")
    return logger


def run_name(config: DictConfig, folder: Path) -> str:
    """What sets a run apart: its overrides, such as "one_way seed=2", or its folder where there are none.

    In a multirun these are the overrides that differ between its jobs.
    """
    overrides = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    swept, words = _swept(), []
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if key in swept if swept else key.partition(".")[0] not in ("logger", "callbacks", "ckpt_path"):
            words.append(value if "." not in key and key != "seed" else f"{key.rpartition('.')[2]}={value}")
    return " ".join(words)[:LONGEST_NAME] or f"{config.name}_{folder.name}"


def sweep_name() -> str | None:
    """The folder of a multirun, which puts its jobs into one group; None outside of one."""
    if not (HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN):
        return None
    return Path(HydraConfig.get().sweep.dir).name


def _swept() -> set[str]:
    """The keys that differ between the jobs of a multirun; Hydra keeps its command line in its folder."""
    if sweep_name() is None:
        return set()
    hydra = HydraConfig.get()
    given = Path(hydra.sweep.dir, "multirun.yaml")
    lines = OmegaConf.select(OmegaConf.load(given), "hydra.overrides.task") if given.is_file() else []
    choices = (line.lstrip("+").partition("=") for line in lines or ())
    swept = {key for key, _, value in choices if "," in value and not value.startswith("[")}
    return swept | set(hydra.sweeper.get("params") or ())


def tags_of(config: DictConfig) -> list[str]:
    """Words to filter runs by: the groups that were chosen, where Hydra knows them."""
    if not HydraConfig.initialized():
        return []
    chosen = HydraConfig.get().runtime.choices
    return [str(chosen[group]) for group in ("data", "segmenter", "guidance", "propagation") if chosen.get(group)]


class LogImages(pl.Callback):
    """Send the first val images with their masks, or pictures of their values, at each validation."""

    def __init__(self, labels: LabelSet, count: int = 2) -> None:
        self._labels = labels
        self._count = count
        self._shown: list[Any] = []

    def on_validation_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        if trainer.is_global_zero and batch_idx < self._count:
            scores: Mapping[str, Tensor] = module.predict(batch)  # type: ignore[operator]
            if isinstance(module, Values):
                maps = {**scores, "truth": batch["truth"]}
                pictures = {method: module.picture(batch["image"], values) for method, values in maps.items()}
                arrays = image_and_pictures(batch, {"pictures": pictures})
            else:
                labels = {method: of_method.argmax(dim=1) for method, of_method in scores.items()}
                arrays = image_and_masks(batch, {"labels": labels})
            self._shown.append(_overlay(arrays, self._labels, batch["name"][0]))

    def on_validation_epoch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger) and self._shown:
                logger.experiment.log({"val/images": self._shown, "trainer/global_step": trainer.global_step})
        self._shown = []


def log_results(logger: WandbLogger, run: RunFolder, metrics: Mapping[str, Any], labels: LabelSet, images: int) -> None:
    """Send what the test found: scores, curves, test images with their masks, weights, and the report."""
    import wandb

    sent = logger.experiment
    of_values = [name for name in VALUES if any(name in scores for scores in metrics.values())]
    names = (*of_values, "milliseconds") if of_values else SCORES
    for step, values in _segmenter_steps(run):
        sent.log({"segmenter/step": step, **values})
    for method, scores in metrics.items():
        known = {name: scores.get(name) for name in names} | {
            f"changes/{name}": (scores.get("changes") or {}).get(name) for name in CHANGES
        }
        for kind, columns in (scores.get("helen") or {}).items():
            known |= {f"helen_{kind}/{column}": value for column, value in columns.items()}
        for name, value in zip(labels.classes, scores.get("per_class_IoU") or (), strict=False):
            known[f"IoU/{name}"] = value
        sent.summary.update({f"test/{method}/{name}": value for name, value in known.items() if value is not None})

    rows = [[method, *(scores.get(name) for name in names)] for method, scores in metrics.items()]
    logger.log_table("test/comparison", columns=["method", *names], data=rows)
    of_class = {method: scores["per_class_IoU"] for method, scores in metrics.items() if scores.get("per_class_IoU")}
    if of_class or not of_values:
        by_class = [[name, *(found[index] for found in of_class.values())] for index, name in enumerate(labels.classes)]
        logger.log_table("test/per_class_IoU", columns=["class", *of_class], data=by_class)
    curves = {method: curve for method, scores in metrics.items() if (curve := trimap(scores))}
    if curves:
        plot = wandb.plot.line_series(
            xs=[list(curve) for curve in curves.values()],
            ys=[list(curve.values()) for curve in curves.values()],
            keys=list(curves),
            title="IoU near borders",
            xname="pixels from a border",
        )
        sent.log({"test/trimap_IoU": plot})

    overlays = []
    for path in sorted(run.examples.glob("*.npz"))[:images]:
        with np.load(path, allow_pickle=False) as example:
            overlays.append(_overlay(dict(example), labels, path.stem))
    if overlays:
        sent.log({"test/examples": overlays})
    _send_files(sent, run)


def _send_files(sent: Any, run: RunFolder) -> None:
    import wandb

    report = wandb.Artifact(f"report-{sent.id}", type="report")
    report.add_file(str(run.path / "report.html"))
    sent.log_artifact(report)
    config = OmegaConf.load(run.config)
    weights = wandb.Artifact(str(config.name), type="model", metadata={"monitor": config.callbacks.weights})
    for path in (run.config, run.data, run.metrics, run.network, run.segmenter):
        if path.is_file():
            weights.add_file(str(path), name=str(path.relative_to(run.path)))
    sent.log_artifact(weights, aliases=["latest", str(config.callbacks.weights), f"seed-{config.seed}"])


def _segmenter_steps(run: RunFolder) -> list[tuple[int, dict[str, float]]]:
    """The curves of the coarse segmenter's own training, by its own step."""
    steps: dict[int, dict[str, float]] = {}
    for column, (places, values) in read_curves(run.path / "csv_segmenter").items():
        for place, value in zip(places, values, strict=True):
            steps.setdefault(int(place), {})[f"segmenter/{column}"] = value
    return sorted(steps.items())


def _overlay(arrays: Mapping[str, NDArray[Any]], labels: LabelSet, caption: str) -> Any:
    import wandb

    pictures = {name.removeprefix("picture_"): array for name, array in arrays.items() if name.startswith("picture_")}
    if pictures:  # of values, which are no masks: side by side
        row = np.concatenate([arrays["image"], *pictures.values()], axis=1)
        return wandb.Image(row, caption=f"{caption}: {', '.join(('image', *pictures))}")
    names = dict(enumerate(labels.classes))
    masks = {
        name.removeprefix("method_"): {"mask_data": mask, "class_labels": names}
        for name, mask in arrays.items()
        if name in ("label", "coarse", "refined") or name.startswith("method_")
    }
    return wandb.Image(arrays["image"], masks=masks, caption=caption)
