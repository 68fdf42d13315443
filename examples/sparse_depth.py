"""Another task of the same kind: fill in depth that is known at a few pixels. Nothing to download; two minutes.

A value task is a data set, a metric and a loss: `Values` brings the network, training, validation, tests and pictures.
"""

from functools import partial

import numpy as np
import pytorch_lightning as pl
from torch.optim import AdamW

from spatialprop.data import LabelSet, SyntheticShapes, ValueExample, ValueSplits
from spatialprop.data.values.loading import ValueModule
from spatialprop.metrics import ValueErrors
from spatialprop.nn.guidance import ResidualGuidance
from spatialprop.tasks import Parts, Values
from spatialprop.tasks.optimization import Optimization

DEPTHS = np.array([10.0, 7, 6, 5, 4, 3], np.float32)  # metres, of the ground and of each kind of creature
KNOWN = 0.02  # of the pixels


class SparseDepth:
    """Drawn tide pools, their depth, and a few pixels where it is known."""

    labels = LabelSet("depth", ("metres",))

    def __init__(self, split, count):
        self.images = SyntheticShapes(split, count, size=(96, 128))
        self.names = self.images.names

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):  # an image to validate or test on
        return self.example(self.images[index], np.random.default_rng(index))

    def draw(self, rng):  # one to train on
        return self.example(self.images[int(rng.integers(len(self)))], rng)

    def example(self, drawn, rng):
        depth = (DEPTHS[drawn.label] + np.linspace(-0.5, 0.5, len(drawn.label), dtype=np.float32)[:, None])[None]
        known = (rng.random(depth.shape) < KNOWN).astype(np.float32)
        return ValueExample(drawn.name, drawn.image.transpose(2, 0, 1) / np.float32(255), depth * known, known, depth)


def main(images=400, epochs=4):
    guidance = partial(ResidualGuidance, widths=(16, 24, 32, 48), depths=(0, 1, 1, 1))
    parts = Parts(SparseDepth.labels, Optimization(partial(AdamW, lr=2e-3)), guidance=guidance)
    task = Values(parts, channels=1, bounds=(0.0, 12.0), scores=ValueErrors)
    data = ValueModule(
        ValueSplits(SparseDepth("train", images), SparseDepth("val", 4), SparseDepth("test", 12)), seed=0, batch_size=8
    )
    trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.fit(task, data)
    trainer.test(task, data, verbose=False)
    print({method: round(scores["MAE"], 3) for method, scores in task.results.items()})  # metres
    return task


if __name__ == "__main__":
    main()
