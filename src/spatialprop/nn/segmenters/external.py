"""Models of other libraries as segmenters: torchvision, Hugging Face, mmseg, timm. None is imported here."""

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spatialprop.nn.published import load_weights
from spatialprop.nn.resize import pad_to_multiple
from spatialprop.nn.segmenters.cells import read_inside
from spatialprop.nn.segmenters.pixels import IMAGENET_MEAN, IMAGENET_STD, check_image

_TRIAL = (128, 128)  # pixels of the image on which features are counted


class External(nn.Module):
    """A model of another library as a segmenter: with its own normalisation of colours, and the logits from its output.

    Args:
        num_classes: Number of classes K.
        model: Makes the model.
        classes_argument: The keyword that tells `model` the number of classes; None if it knows.
        output: The key or attribute of the logits in the model's output; None if the output is the logits.
        mean, std: Of the colours that the model was trained on, RGB from 0 to 1.
        multiple: Images are padded to sides that divide by this, and the logits cut back.
        features: The module of the model, such as "backbone.layer4", whose output is handed out as features: the first
            map (N, C, h, w) in its output, which may be a tensor, a sequence, a mapping or an object. None hands out
            the logits.
        weights: A file or an address (see `load_weights`) of the model's state dict.

    Example:
        >>> net = External(5, lambda num_classes: nn.Conv2d(3, num_classes, 8, stride=8))
        >>> net(torch.rand(1, 3, 64, 96)).shape
        torch.Size([1, 5, 8, 12])
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        num_classes: int,
        model: Callable[..., nn.Module],
        *,
        classes_argument: str | None = "num_classes",
        output: str | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        multiple: int = 1,
        features: str | None = None,
        weights: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        if multiple < 1:
            raise ValueError(f"multiple must be at least 1; got {multiple}")
        self.num_classes = num_classes
        self.output = output
        self.multiple = multiple
        self.features = features
        self._feature_channels: int | None = None if features is not None else num_classes
        self.register_buffer("mean", torch.tensor(tuple(mean)).reshape(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(tuple(std)).reshape(3, 1, 1), persistent=False)
        self.model = model(**({} if classes_argument is None else {classes_argument: num_classes}))
        if features is not None:
            _check_module(self.model, features)
        if weights is not None:
            load_weights(self.model, weights)

    @property
    def feature_channels(self) -> int:
        """Channels of the features; those of a module of the model are counted in a trial run."""
        if self._feature_channels is None:
            trial = copy.deepcopy(self).eval()  # a run in training would change running statistics
            try:
                with torch.no_grad():
                    _, features = trial.forward_with_features(self.mean.new_zeros(1, 3, *_TRIAL))
            except (AttributeError, RuntimeError, ValueError) as error:
                raise RuntimeError(
                    f"{type(self.model).__name__} fails on an image of {_TRIAL[0]} x {_TRIAL[1]} pixels, on which the "
                    f"channels of {self.features} are counted: {error}. A model that takes images of one size only "
                    f"hands out its class scores, segmenter.network.features=null"
                ) from error
            self._feature_channels = features.shape[1]
        return self._feature_channels

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, K, h, w) of RGB images (N, 3, H, W) from 0 to 1, at the model's own resolution."""
        check_image(image)
        height, width = image.shape[-2:]
        padded = pad_to_multiple(image, self.multiple)
        logits = self._logits(self.model((padded - self.mean) / self.std))
        if padded.shape != image.shape:
            # At the image's own resolution the padding can be cut off exactly, whatever the model's stride is.
            logits = F.interpolate(logits, size=padded.shape[-2:], mode="bilinear", align_corners=False)
            logits = logits[..., :height, :width]
        return logits

    def forward_with_features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The logits, and the features (N, feature_channels, h, w) at their own resolution."""
        if self.features is None:
            logits = self(image)
            return logits, logits
        returned: list[Any] = []
        module = self.model.get_submodule(self.features)
        # For this call alone: a permanent hook could neither be copied nor saved.
        with module.register_forward_hook(lambda _module, _inputs, output: returned.append(output)):
            logits = self(image)
        features = _first_map(returned[-1]) if returned else None
        if features is None:
            got = f"a {type(returned[-1]).__name__}{_named(returned[-1])}" if returned else "nothing (it is not run)"
            raise TypeError(
                f"{self.features} in {type(self.model).__name__} gives {got}, which holds no map (N, C, h, w); name "
                f"a module that gives one, segmenter.network.features=NAME, or null for the class scores"
            )
        height, width = image.shape[-2:]
        padded = (height + -height % self.multiple, width + -width % self.multiple)
        return logits, features if padded == (height, width) else read_inside(features, padded, (height, width))

    def _logits(self, returned: Any) -> Tensor:
        if self.output is not None:
            found = returned.get(self.output) if isinstance(returned, Mapping) else getattr(returned, self.output, None)
        else:
            found = returned
        if not isinstance(found, Tensor):
            raise TypeError(
                f"{type(self.model).__name__} returns a {type(returned).__name__}{_named(returned)}, in which "
                f"output = {self.output!r} is no tensor; say where the logits are: segmenter.network.output=out "
                f"(torchvision) or logits (Hugging Face)"
            )
        if found.dim() != 4 or found.shape[1] != self.num_classes:
            raise ValueError(
                f"{type(self.model).__name__} gives {tuple(found.shape)}; a segmenter of {self.num_classes} classes "
                f"gives (N, {self.num_classes}, h, w): tell the model its classes (classes_argument), or take data "
                f"with the classes that it knows"
            )
        return found


class OnFeatures(nn.Module):
    """A segmenter on the features of a backbone: each map is scored, and the scores are summed, as FCN does it.

    For timm's `create_model(..., features_only=True)`, or anything that returns a list of maps, finest first, and says
    under `feature_info.channels()` how many channels they have and under `feature_info.reduction()` at which stride.

    Args:
        num_classes: Number of classes K.
        backbone: Makes the backbone.
        stride: The finest map that is scored, and the stride of the scores.
    """

    def __init__(self, num_classes: int, backbone: Callable[[], nn.Module], stride: int = 8) -> None:
        super().__init__()
        self.backbone = backbone()
        info = cast(Any, self.backbone).feature_info
        self.reductions = list(info.reduction())
        if stride not in self.reductions:
            raise ValueError(
                f"the backbone has maps at the strides {self.reductions}; stride = {stride} is none of them"
            )
        self.stride = stride
        self.scores = nn.ModuleDict(
            {
                str(reduction): nn.Conv2d(channels, num_classes, 1)
                for channels, reduction in zip(info.channels(), self.reductions, strict=True)
                if reduction >= stride
            }
        )

    def forward(self, image: Tensor) -> Tensor:
        """Scores (N, K, h, w) at the stride."""
        maps = dict(zip(self.reductions, self.backbone(image), strict=True))
        size = maps[self.stride].shape[-2:]
        scored = [
            F.interpolate(score(maps[int(reduction)]), size=size, mode="bilinear", align_corners=False)
            for reduction, score in self.scores.items()
        ]
        return torch.stack(scored).sum(dim=0)


def _check_module(model: nn.Module, name: str) -> None:
    names = [known for known, _ in model.named_modules() if known]
    if name not in names:
        near = get_close_matches(str(name), names, n=5, cutoff=0.4) or [known for known, _ in model.named_children()]
        raise ValueError(
            f"features = {name!r} is no module of {type(model).__name__}; it has {', '.join(near) or 'none'}"
            f"{', and others' if len(near) < len(names) else ''}. Name one, segmenter.network.features=NAME, or null "
            f"for the class scores"
        )


def _first_map(returned: Any) -> Tensor | None:
    if isinstance(returned, Mapping):
        returned = returned.values()
    elif isinstance(returned, Tensor):
        returned = [returned]
    elif not isinstance(returned, Sequence):
        returned = getattr(returned, "__dict__", {}).values()
    return next((part for part in returned if isinstance(part, Tensor) and part.dim() == 4), None)


def _named(returned: Any) -> str:
    return f" with {', '.join(map(str, returned))}" if isinstance(returned, Mapping) else ""
