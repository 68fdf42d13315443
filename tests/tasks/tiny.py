"""Tasks of small parts, and two tiny images that they can learn by heart."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import Adam
from torch.utils.data import DataLoader

from spatialprop.data import VOID, LabelSet, collate
from spatialprop.nn.guidance import LightGuidance
from spatialprop.tasks import Joint, Parts, Refine, Segment
from spatialprop.tasks.optimization import Optimization

QUIET = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),  # two images need none
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),  # Lightning calls what torch has renamed
    pytest.mark.filterwarnings("ignore:.*in eval mode at the start of training"),  # a frozen segmenter
]

LABELS = LabelSet("shapes", ("background", "disc", "bar"), ignore_index=VOID)
OPTIMIZATION = Optimization(partial(Adam, lr=0.01))


class Segmenter(nn.Module):
    """A small network with features and running statistics, at half the resolution."""

    feature_channels = 8

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 8, 4, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.scores = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, image):
        return self.forward_with_features(image)[0]

    def forward_with_features(self, image):
        features = self.trunk(image)
        return self.scores(features), features


def light(channels):
    return LightGuidance(channels, width=8)


def sample(index, height=32, width=32):
    """Shapes that their colours tell apart, and a coarse map that is blind to their borders."""
    generator = torch.Generator().manual_seed(index)
    label = torch.zeros(height, width, dtype=torch.int64)
    label[6:20, 3 + index : 17 + index] = 1
    label[14:28, 19:25] = 2
    colours = torch.tensor([[0.2, 0.5, 0.3], [0.8, 0.3, 0.2], [0.3, 0.3, 0.9]])
    image = colours[label].permute(2, 0, 1) + 0.05 * torch.randn(3, height, width, generator=generator)
    shares = F.adaptive_avg_pool2d(F.one_hot(label, 3).permute(2, 0, 1).float(), (height // 8, width // 8))
    coarse = F.interpolate(shares[None], (height, width), mode="bilinear")[0]
    label[0] = VOID
    return {"name": f"shapes/{index}", "image": image.clamp(0, 1), "label": label, "coarse": coarse}


def loader(batch_size, size=(32, 32), images=2):
    return DataLoader([sample(index, *size) for index in range(images)], batch_size=batch_size, collate_fn=collate)


class Losses(pl.Callback):
    """Remembers the loss of every step."""

    def __init__(self):
        self.values = []

    def on_train_batch_end(self, trainer, *_):
        self.values.append(trainer.callback_metrics["train/loss"].item())


def make_trainer(*callbacks, **options):
    return pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, callbacks=list(callbacks), **options,
    )  # fmt: skip


def fit(task, epochs, **options):
    """Train and return the loss of each step."""
    losses = Losses()
    trainer = make_trainer(losses, max_epochs=epochs, limit_val_batches=0, **options)
    trainer.fit(task, loader(batch_size=2), loader(batch_size=1))
    return losses.values


def make(task, network=None, *, baselines=None, **settings):
    """A task of small parts; `network` takes the place of what it is trained on."""
    propagation = settings.pop("refinement", {})
    given = Parts(LABELS, OPTIMIZATION, Segmenter, light, propagation, baselines or {})
    made = task(given, **settings)
    if network is not None:
        made.network = network
    return made


TASKS = {
    "segment": partial(make, Segment),
    "segment and edges": partial(make, Segment, edge_weight=0.5),
    "refine": partial(make, Refine),
    "refine hidden": partial(make, Refine, refinement={"num_classes": 3, "hidden": 4}),
    "joint": partial(make, Joint),
    "joint on a trunk": partial(make, Joint, share_trunk=True),
}
