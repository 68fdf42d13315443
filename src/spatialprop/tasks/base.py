"""What every task shares: how it is validated, tested, compared and optimised."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import pytorch_lightning as pl
from torch import Tensor, nn

from spatialprop.data import LabelSet
from spatialprop.nn import RefinementNetwork
from spatialprop.tasks.comparison import Baseline, Comparison, Validation
from spatialprop.tasks.losses import cross_entropy
from spatialprop.tasks.optimization import Optimization
from spatialprop.tasks.windows import Windows

Loss = Callable[[Tensor, Tensor], Tensor]  # log-probabilities (N, K, H, W) and labels (N, H, W) in, a number out


@dataclass(frozen=True)
class Parts:
    """What the other groups of a config give to a task.

    Args:
        labels: The classes.
        optimization: How the task is trained; None if it only tests.
        segmenter: Makes the coarse segmenter; None if coarse maps come from files.
        guidance: Makes the guidance network, given its number of output channels.
        propagation: Options of `RefinementNetwork`.
        baselines: What the task is compared with on the test images.
    """

    labels: LabelSet
    optimization: Optimization | None = None
    segmenter: Callable[[], nn.Module] | None = None
    guidance: Callable[..., nn.Module] = nn.Identity
    propagation: Mapping[str, Any] = field(default_factory=dict)
    baselines: Mapping[str, Baseline] = field(default_factory=dict)

    def segmenter_to_train(self) -> nn.Module:
        """A segmenter, for a task that cannot do without one."""
        if self.segmenter is None:
            raise ValueError(
                "this task trains a segmenter: choose one with a network of its own, such as segmenter=unet"
            )
        return self.segmenter()


class Task(pl.LightningModule):
    """A network, how it is trained, and how it is scored.

    A task defines `training_step`, `predict` and `test_step`.

    Args:
        parts: What the config's other groups give.
        network: What is trained.
        refined: Names of the methods that are scored besides the coarse segmentation.
        loss: What is minimised.
        windows: How large images are taken apart for validation and test; by default they are not.
        name: What the config calls this task.
        validation, comparison: Scores in training and in tests, if not those of segmentations.
        monitor: The score that chooses the best weights, if not the last method's mIoU.
    """

    monitor_mode = "max"
    takes_coarse: ClassVar[bool] = False  # whether its batches may hold the coarse maps of a frozen segmenter

    def __init__(
        self,
        parts: Parts,
        network: Any,
        refined: tuple[str, ...] = (),
        *,
        loss: Loss = cross_entropy,
        windows: Windows | None = None,
        name: str | None = None,
        validation: Any = None,
        comparison: Any = None,
        monitor: str | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.labels = parts.labels
        self.optimization = parts.optimization
        self.loss = loss
        self.windows = windows or Windows()
        self.name = name or type(self).__name__
        self.monitor = monitor or f"val/{('coarse', *refined)[-1]}_mIoU"  # the score that chooses the best weights
        self.validation = validation or Validation(parts.labels, ("coarse", *refined))
        self.comparison = comparison or Comparison(parts.labels, refined, parts.baselines if refined else {})
        self.results: dict[str, Any] = {}  # the content of metrics.json, once tested

    @property
    def trained(self) -> nn.Module:
        """What the optimizer is given: `network`, and what only its training needs."""
        return cast(nn.Module, self.network)

    @property
    def trained_segmenter(self) -> nn.Module | None:
        """The segmenter that this task trains, if any; it may start from trained weights."""
        return None

    @property
    def refinement(self) -> RefinementNetwork | None:
        """The network whose guidance may start from a refiner's weights, if any."""
        return None

    def predict(self, batch: Any) -> dict[str, Tensor]:
        """Scores of the classes by each method, for validation. (N, K, H, W) each"""
        raise NotImplementedError(f"{type(self).__name__} is tested, never validated: it has no `predict`")

    def scores(self, image: Tensor) -> Tensor:
        """What the task makes of an image alone, as it is tested. (N, K, H, W)"""
        return list(self.predict({"image": image}).values())[-1]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.validation.update(batch["label"], self.predict(batch))

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.validation.compute_and_reset(), prog_bar=True)

    def on_test_epoch_start(self) -> None:
        self.comparison.reset()

    def on_test_epoch_end(self) -> None:
        # Here, and not when somebody asks: in this hook all processes are there to add their share.
        self.results = self.comparison.compute()

    def configure_optimizers(self) -> Any:
        if self.optimization is None:
            raise RuntimeError(f"{type(self).__name__} was made for tests alone: it has no optimizer")
        return self.optimization.configure(self.trained, self.trainer)


def check_weight(name: str, value: object) -> None:
    """Refuse a weight of a loss that is not a finite number from 0 up."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"task.{name} must be a number; got {value!r}")
    if not 0 <= value < float("inf"):
        raise ValueError(f"task.{name} must be at least 0 and finite; got {value!r}")
