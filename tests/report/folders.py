"""Small folders as runs leave them."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

CLASSES = ["background", "<b>", "$x_", "_cat"]


def scores(miou: float, **more) -> dict:
    return {
        "mIoU": miou,
        "pixel_accuracy": miou + 0.1,
        "mean_accuracy": miou + 0.05,
        "boundary_IoU": miou - 0.2,
        "per_class_IoU": [miou, miou / 2, None, 0.0],
        "trimap_IoU": {"1": miou - 0.4, "3": miou - 0.3, "20": miou - 0.1},
        **more,
    }


def arrays(seed: int = 0, height: int = 20, width: int = 30) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = np.zeros((height, width), np.uint8)
    label[5:15, 5:20] = 1
    label[:3] = 255
    coarse, refined = label.copy(), label.copy()
    coarse[:5], coarse[5:8, 5:20] = 0, 0
    refined[:3], refined[5, 5:20] = 0, 3
    return {
        "image": rng.integers(0, 255, (height, width, 3), np.uint8),
        "label": label,
        "coarse": coarse,
        "refined": refined,
        "coarse_object": np.where(coarse == 0, 30, 200).astype(np.uint8),
        "refined_object": np.where(refined == 0, 10, 250).astype(np.uint8),
        "affinity": rng.normal(size=(height, width)).astype(np.float32),
        "pixel": np.array([4, 7]),
        "method_densecrf": coarse,
        "method_oracle_8px": label,
    }


def write_overrides(folder: Path, overrides: Sequence[str]) -> None:
    (folder / ".hydra").mkdir(parents=True, exist_ok=True)
    # JSON is YAML too.
    (folder / ".hydra" / "overrides.yaml").write_text(json.dumps(list(overrides)))


def write_job(
    folder: Path, number: int, overrides: Sequence[str], metrics: dict | None = None, data: str | None = None
) -> None:
    """A job of a multirun; without metrics it failed."""
    write_overrides(folder / str(number), overrides)
    if data is not None:
        (folder / str(number) / "data.json").write_text(json.dumps({"name": data, "classes": CLASSES}))
    if metrics is not None:
        (folder / str(number) / "metrics.json").write_text(json.dumps(metrics))


def write_csv(folder: Path, version: int, text: str) -> None:
    path = folder / f"version_{version}" / "metrics.csv"
    path.parent.mkdir(parents=True)
    path.write_text(text)


def write_run(folder: Path, examples: int = 1) -> Path:
    """A complete run of a `refine` task."""
    write_overrides(folder, ["propagation=one_way", "data.root=my data", "seed=2"])
    (folder / "config.yaml").write_text("seed: 2\nname: '<script>alert(1)</script>'\n")
    (folder / "data.json").write_text(
        json.dumps({"name": "a & b", "classes": CLASSES, "ignore_index": 255, "scored_classes": [0, 1], "images": 7})
    )
    changes = {"changed": 0.1, "right": 0.7, "wrong": 0.2, "neutral": 0.1}
    metrics = {
        "coarse": scores(0.7),
        "densecrf": scores(0.72, milliseconds=345.67),
        "refined": scores(0.81, changes=changes, milliseconds=12.34),
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    header = "epoch,step,train/loss,val/coarse_mIoU,val/refined_mIoU\n"
    write_csv(folder / "csv", 0, header + "".join(f"0,{step},{1 / (step + 1)},,\n" for step in range(80)))
    write_csv(folder / "csv", 1, header + "0,80,,0.7,0.8\n1,160,,0.7,0.81\n")
    write_csv(folder / "csv_segmenter", 0, "epoch,step,train/loss,val/mIoU\n0,0,2.0,\n0,9,,0.5\n")
    (folder / "examples").mkdir()
    for index in range(examples):
        np.savez_compressed(folder / "examples" / f"{index:02d}_image_{index}.npz", **arrays(index))
    return folder
