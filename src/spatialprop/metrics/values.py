"""Errors of dense maps of values, and of pictures whose colours they are."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from spatialprop.yuv import join_colours


class ValueErrors(Metric):
    """Mean absolute and root mean square error of the values that were not known, over all pixels of all images.

    Example:
        >>> errors = ValueErrors()
        >>> errors.update(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.5), torch.zeros(1, 1, 2, 2))
        >>> errors.compute()
        {'MAE': 0.5, 'RMSE': 0.5}
    """

    full_state_update = False
    higher_is_better = False
    main = "MAE"
    sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(3, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, result: Tensor, truth: Tensor, confidence: Tensor, *_: Any) -> None:
        """Add maps (N, C, H, W); those pixels count whose confidence (N, 1, H, W) is below 1."""
        difference = (result - truth).double() * (confidence < 1)
        count = (confidence < 1).sum() * result.shape[1]
        self.sums += torch.stack([difference.abs().sum(), difference.square().sum(), count.double()])

    def compute(self) -> dict[str, Any]:
        """MAE and RMSE; None where nothing counted."""
        absolute, square, count = self.sums.tolist()
        return {"MAE": absolute / count if count else None, "RMSE": (square / count) ** 0.5 if count else None}


class ColourScores(Metric):
    """PSNR and SSIM of coloured pictures, means over images; PSNR by group too, such as the number of hints.

    Both are torchmetrics', over all pixels of the RGB picture of 8 bits.

    Example:
        >>> scores, grey, colours = ColourScores(), torch.rand(1, 1, 32, 32), torch.rand(1, 2, 32, 32) / 4
        >>> scores.update(colours / 2, colours, torch.zeros(1, 1, 32, 32), grey, ["30"])
        >>> sorted(scores.compute())
        ['PSNR', 'PSNR_by_group', 'SSIM']
    """

    full_state_update = False
    higher_is_better = True
    main = "PSNR"
    psnr: Any
    ssim: Any
    groups: Any

    def __init__(self) -> None:
        super().__init__()
        for name in ("psnr", "ssim", "groups"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, result: Tensor, truth: Tensor, confidence: Tensor, image: Tensor, groups: Sequence[str]) -> None:
        """Add colours (N, 2, H, W) of grey pictures (N, 1, H, W); `groups` names those of each, or is ""."""
        for grey, one, true, group in zip(image, result, truth, groups, strict=True):
            picture, wanted = _picture(grey, one), _picture(grey, true)
            self.psnr.append(peak_signal_noise_ratio(picture, wanted, data_range=255.0).reshape(1))
            ssim = structural_similarity_index_measure(picture, wanted, data_range=255.0)
            assert isinstance(ssim, Tensor)
            self.ssim.append(ssim.reshape(1))
            self.groups.append(torch.tensor([int(group) if group else -1]))

    def compute(self) -> dict[str, Any]:
        """The means; None without images."""
        if len(self.psnr) == 0:
            return {"PSNR": None, "SSIM": None}
        psnr, ssim, groups = (
            torch.cat(list(one)) if isinstance(one, list) else one for one in (self.psnr, self.ssim, self.groups)
        )
        results: dict[str, Any] = {"PSNR": psnr.mean().item(), "SSIM": ssim.mean().item()}
        known = sorted({int(group) for group in groups if group >= 0})
        if known:
            results["PSNR_by_group"] = {str(group): psnr[groups == group].mean().item() for group in known}
        return results


def _picture(grey: Tensor, colours: Tensor) -> Tensor:
    """(1, 3, H, W), from 0 to 255."""
    joined = join_colours(grey[0].float().cpu().numpy(), colours.float().cpu().numpy())
    return torch.from_numpy(joined).permute(2, 0, 1)[None].float()
