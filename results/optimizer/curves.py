"""Draw curves.png: how far the paper's optimizer gets at several rates, on a proxy that two CPU cores can train.

    for lr in 1e-4 4e-2 4e-1 1.6e-0; do
      python train.py segmenter.checkpoint=SEGMENTER guidance=unet guidance.network.width=8 guidance.hidden=8 \
        patches.size=64 optimizer=sgd optimizer.lr=$lr scheduler=constant trainer.gradient_clip_val=null \
        augment.flip=0 augment.colour=0 trainer.max_epochs=-1 trainer.max_steps=240 trainer.check_val_every_n_epoch=1 \
        segmenter.cache=none data.test=12 baselines=[] hydra.run.dir=runs/sgd_$lr
    done      again with optimizer=adamw as runs/adamw, and with 600 steps at 1e-2 and 4e-2 as runs/long_<rate>
    python results/optimizer/curves.py runs

SEGMENTER is a run of `python train.py`, for its coarse model. Beside the picture, curves.json holds what it shows.
"""

import csv
import json
import math
import sys
from pathlib import Path

import matplotlib.pyplot as plt

HERE = Path(__file__).parent
NAMES = {
    "sgd_1e-4": "SGD, 1e-4 (the paper's, literally)",
    "long_1e-2": "SGD, 1e-2 (paper_scaled)",
    "long_4e-2": "SGD, 4e-2",
    "adamw": "AdamW, 2e-3",
    "sgd_4e-1": "SGD, 4e-1 (loss summed over 64 x 64)",
    "sgd_1.6e-0": "SGD, 1.6 (loss summed over 128 x 128)",
}


def read(run: Path) -> dict[str, object]:
    """The curves of a run, and its scores on the test images."""
    (log,) = run.glob("csv/version_0/metrics.csv")
    with log.open() as file:
        rows = list(csv.DictReader(file))
    curves = {
        column: [[int(row["step"]), value if math.isfinite(value := float(row[column])) else None]
                 for row in rows if row.get(column)]
        for column in ("train/loss", "val/coarse_mIoU", "val/refined_mIoU")
    }  # fmt: skip
    metrics = json.loads((run / "metrics.json").read_text())
    return {**curves, "test": {method: metrics[method]["mIoU"] for method in ("coarse", "refined")}}


def main() -> None:
    found = {name: read(Path(sys.argv[1], name)) for name in NAMES}
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(curves)}" for name, curves in found.items())
    (HERE / "curves.json").write_text(f"{{\n{lines}\n}}\n")
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for name, curves in found.items():
        steps, values = zip(*curves["val/refined_mIoU"], strict=True)  # type: ignore[call-overload]
        axes.plot(steps, [100 * value for value in values], "o-", label=NAMES[name])
    axes.axhline(100 * found["adamw"]["val/coarse_mIoU"][0][1], color="grey", linestyle=":", label="coarse")  # type: ignore[index]
    axes.set(xlabel="step", ylabel="refined mIoU on val, %", ylim=(0, 90))
    axes.legend(fontsize=8)
    figure.savefig(HERE / "curves.png", dpi=120)


if __name__ == "__main__":
    main()
