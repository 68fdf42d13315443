"""Train a network that spreads known values into a dense map: mattes, colours, or whatever a data set holds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spatialprop.nn.values import ValueNetwork
from spatialprop.tasks.base import Parts, Task
from spatialprop.tasks.comparison import now
from spatialprop.tasks.value_losses import value_loss
from spatialprop.yuv import join_colours

# Image (I, H, W), values (C, H, W) and confidence (H, W) in, dense values (C, H, W) out.
ValueBaseline = Callable[[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]
_OF_CLASSES = ("num_classes", "hidden", "hints", "groups")  # what the config's parts say for segmentations alone


class Values(Task):
    """Fit a network to spread what is known of a map of values.

    Args:
        parts: Guidance, propagation, optimization and baselines are used.
        scores: Makes the metric: it is given results, truths, confidences, images and groups.
        channels, image_channels, stride, bounds, proposals, keep_known, own_gates, windows: See
            `ValueNetwork`.
        loss: Of results, truths and confidences.
        settings: See `Task`.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        scores: Callable[[], Any],
        channels: int,
        image_channels: int = 3,
        stride: int = 2,
        bounds: Sequence[float] = (0.0, 1.0),
        proposals: bool = False,
        keep_known: bool = True,
        own_gates: bool = False,
        windows: Sequence[int] = (),
        loss: Callable[..., Tensor] = value_loss,
        **settings: Any,
    ) -> None:
        low, high = bounds
        network = ValueNetwork(
            parts.guidance,
            channels=channels,
            image_channels=image_channels,
            stride=stride,
            bounds=(low, high),
            proposals=proposals,
            keep_known=keep_known,
            own_gates=own_gates,
            windows=windows,
            **{key: value for key, value in parts.propagation.items() if key not in _OF_CLASSES},
        )
        metric = scores()
        super().__init__(
            parts,
            network,
            loss=loss,
            validation=Scoring(scores, ("refined",)),
            comparison=Scoring(scores, ("coarse", "refined"), cast(Mapping[str, ValueBaseline], parts.baselines)),
            monitor=f"val/refined_{metric.main}",
            **settings,
        )
        self.monitor_mode = "max" if metric.higher_is_better else "min"

    def forward(self, image: Tensor, values: Tensor, confidence: Tensor) -> Tensor:
        """The dense map. (N, C, H, W)"""
        return cast(Tensor, self.network(image, values, confidence))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        result = self(batch["image"], batch["values"], batch["confidence"])
        loss = cast(Callable[..., Tensor], self.loss)(result, batch["truth"], batch["confidence"])
        self.log("train/loss", loss, prog_bar=True, batch_size=len(result))
        return loss

    def predict(self, batch: Any) -> dict[str, Tensor]:
        return {"refined": self(batch["image"], batch["values"], batch["confidence"])}

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.validation.update(batch, self.predict(batch))

    def test_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        with self.comparison.timed("refined", self.device):
            refined = self.predict(batch)["refined"]
        low, high = self.network.bounds
        confidence = batch["confidence"]
        given = batch["values"] * confidence + (low + high) / 2 * (1 - confidence)
        comparison = cast(Scoring, self.comparison)
        maps = comparison.update(batch, {"coarse": given, "refined": refined})
        pictures = {
            name: self.picture(batch["image"], map_) for name, map_ in (*maps.items(), ("truth", batch["truth"]))
        }
        return {"pictures": pictures}

    def picture(self, image: Tensor, values: Tensor) -> NDArray[np.uint8]:
        """What a map looks like: two channels are the colours of a grey image, one is a grey picture. (H, W, 3)"""
        maps = values[0].detach().float().cpu().numpy()
        if len(maps) == 2 and image.shape[1] == 1:
            return join_colours(image[0, 0].float().cpu().numpy(), maps)
        low, high = self.network.bounds
        grey = np.clip((maps[:1] - low) / (high - low) * 255, 0, 255).round().astype(np.uint8)
        return np.ascontiguousarray(np.repeat(grey, 3, axis=0).transpose(1, 2, 0))


class Scoring(nn.Module):
    """Scores of several methods on the same images, and the time that they take.

    Args:
        scores: Makes the metric of each.
        methods: Names of those whose results are passed to `update`.
        baselines: Further methods, which this class runs itself.
    """

    def __init__(
        self, scores: Callable[[], Any], methods: Sequence[str], baselines: Mapping[str, ValueBaseline] | None = None
    ) -> None:
        super().__init__()
        self.baselines = dict(baselines or {})
        self.scores: dict[str, Any] = {name: scores() for name in (*methods, *self.baselines)}
        self._metrics = nn.ModuleList(self.scores.values())  # so that they move to the module's device
        self.seconds: dict[str, list[float]] = {name: [] for name in self.scores}

    @contextmanager
    def timed(self, method: str, device: torch.device) -> Iterator[None]:
        """Count the time of the enclosed code as the time that `method` takes for one image."""
        start = now(device)
        yield
        self.seconds[method].append(now(device) - start)

    def update(self, batch: Mapping[str, Any], results: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Add results (N, C, H, W); with baselines, of one image. What every method gives comes back."""
        maps = dict(results)
        for name, baseline in self.baselines.items():
            image, values, confidence = (
                batch[key][0].float().cpu().numpy() for key in ("image", "values", "confidence")
            )
            with self.timed(name, torch.device("cpu")):
                result = baseline(image, values, confidence[0])
            maps[name] = torch.from_numpy(np.ascontiguousarray(result, np.float32))[None].to(batch["truth"].device)
        for name, metric in self.scores.items():
            metric.update(maps[name], batch["truth"], batch["confidence"], batch["image"], batch["group"])
        return maps

    def reset(self) -> None:
        """Forget all images."""
        for metric in self.scores.values():
            metric.reset()
        for seconds in self.seconds.values():
            seconds.clear()

    def compute(self) -> dict[str, Any]:
        """The content of `metrics.json`."""
        return {
            name: metric.compute() | ({"milliseconds": 1000 * median(self.seconds[name])} if self.seconds[name] else {})
            for name, metric in self.scores.items()
        }

    def compute_and_reset(self) -> dict[str, Tensor]:
        """`val/<method>_<score>` for each score that is a number."""
        found = {name: metric.compute() for name, metric in self.scores.items()}
        self.reset()
        return {
            f"val/{name}_{score}": torch.tensor(value, dtype=torch.float32)
            for name, scores in found.items()
            for score, value in scores.items()
            if isinstance(value, float)
        }
