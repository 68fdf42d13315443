"""What a refiner gains on images that it was not trained on.

usage: scores.py CHECKPOINT [--every N] [--packed DIR]
`--every N` takes every Nth image. `light`, `base` or `small` in place of a checkpoint takes what comes along.
"""

import argparse
import json
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from samples import Packed
from torch import Tensor
from torch.nn import functional as F

from spatialprop.data import VOID
from spatialprop.data.coarse.pasted import paste
from spatialprop.data.coarse.roughen import Roughen, filled
from spatialprop.metrics import BoundaryIoU, SegmentationScores
from spatialprop.metrics.boundary import distance_to_border

ANIMALS = [0, 8, 10, 12, 13, 15, 17]
VAL = {"voc_animals_val": (21, ANIMALS), "camvid_val": (11, None), "faces_val": (19, None)}
ROUGH = ("objects", "clothes", "voc_more")
BAND = 16
SMALL = 256

Refine = Callable[[Tensor, Tensor], Tensor]  # image (1, 3, H, W) and shares (1, K, h, w); labels (H, W)


class Gains:
    """mIoU and Boundary IoU before and after, in percent."""

    def __init__(self, classes: int, scored: list[int] | None) -> None:
        kinds = {"num_classes": classes, "ignore_index": VOID, "scored_classes": scored}
        self.scores = [(SegmentationScores(**kinds), BoundaryIoU(**kinds)) for _ in range(2)]

    def add(self, before: Tensor, after: Tensor, truth: Tensor) -> None:
        for labels, both in zip((before, after), self.scores, strict=True):
            for metric in both:
                metric.update(labels[None], truth[None])

    def result(self) -> dict[str, float]:
        first, last = (
            [float(a.compute()["mIoU"]) * 100, float(b.compute()["boundary_IoU"]) * 100] for a, b in self.scores
        )
        names = ("mIoU", "boundary_IoU")
        return {name: round(value, 2) for name, value in zip(names, last, strict=True)} | {
            f"{name}_gain": round(after - before, 2) for name, before, after in zip(names, first, last, strict=True)
        }


class Regions:
    """Small regions of the coarse labels, right or wrong, and how many of them vanish."""

    def __init__(self) -> None:
        self.counts = {"right": [0, 0], "wrong": [0, 0]}

    def add(self, before: Tensor, after: Tensor, truth: Tensor) -> None:
        labels, refined, target = (one.numpy().astype(np.uint8) for one in (before, after, truth))
        for label in np.unique(labels):
            number, places, stats, _ = cv2.connectedComponentsWithStats((labels == label).astype(np.uint8))
            for region in range(1, number):
                if stats[region, cv2.CC_STAT_AREA] >= SMALL:
                    continue
                mask = places == region
                known = mask & (target != VOID)
                if not known.any():
                    continue
                right = (target[known] == label).mean() >= 0.5
                looked_at = mask & (target == label) if right else mask
                gone = (refined[looked_at] == label).mean() < 0.5
                count = self.counts["right" if right else "wrong"]
                count[0] += 1
                count[1] += int(gone)

    def result(self) -> dict[str, str]:
        return {kind: f"{gone} of {all_}" for kind, (all_, gone) in self.counts.items()}


class Mended:
    """Of the pixels in a band around true borders, the share of the wrong ones mended and of the right ones broken."""

    def __init__(self) -> None:
        self.wrong = self.mended = self.right = self.broken = 0

    def add(self, before: Tensor, after: Tensor, truth: Tensor) -> None:
        band = (distance_to_border(truth[None], BAND)[0] <= BAND) & (truth != VOID)
        was, now = before == truth, after == truth
        self.wrong += int((band & ~was).sum())
        self.mended += int((band & ~was & now).sum())
        self.right += int((band & was).sum())
        self.broken += int((band & was & ~now).sum())

    def result(self) -> dict[str, float]:
        return {
            "mended": round(100 * self.mended / max(1, self.wrong), 1),
            "broken": round(100 * self.broken / max(1, self.right), 2),
        }


def tensors(image: np.ndarray, label: np.ndarray) -> tuple[Tensor, Tensor]:
    seen = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    return seen, torch.from_numpy(label.astype(np.int64))


def one_hot(labels: np.ndarray, classes: int) -> Tensor:
    return F.one_hot(torch.from_numpy(labels.astype(np.int64)), classes).permute(2, 0, 1)[None].float()


def score(refine: Refine, packed: Path, every: int = 1) -> dict[str, dict[str, object]]:
    """All scores of a refiner."""
    found: dict[str, dict[str, object]] = {}
    for name, (classes, scored) in VAL.items():
        source = Packed(packed, name)
        soft, hard, same = Gains(classes, scored), Gains(classes, scored), Gains(classes, scored)
        small, small_hard, small_true = Regions(), Regions(), Regions()
        for index in range(0, len(source.entries), every):
            image, truth = tensors(source.image(index), source.label(index))
            height, width = truth.shape
            given = torch.from_numpy(np.array(source.shares(index)))[None].float() / 255
            given = given / given.sum(dim=1, keepdim=True).clamp_min(1e-6)
            before = F.interpolate(given, size=(height, width), mode="bilinear").argmax(dim=1)[0]
            after = refine(image, given)
            soft.add(before, after, truth)
            small.add(before, after, truth)
            labels = given.argmax(dim=1)[0].numpy().astype(np.uint8)
            labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
            after = refine(image, one_hot(labels, classes))
            hard.add(torch.from_numpy(labels.astype(np.int64)), after, truth)
            small_hard.add(torch.from_numpy(labels.astype(np.int64)), after, truth)
            known = filled(truth.numpy().astype(np.uint8), truth.numpy() == VOID)
            after = refine(image, one_hot(known, classes))
            same.add(torch.from_numpy(known.astype(np.int64)), after, truth)
            small_true.add(torch.from_numpy(known.astype(np.int64)), after, truth)
        found[name] = {
            "probabilities": soft.result(),
            "labels": hard.result(),
            "truth": same.result()["mIoU"],
            "small": small.result(),
            "small_labels": small_hard.result(),
            "small_truth": small_true.result()["right"],
        }
    for name in ROUGH:
        source = Packed(packed, name)
        mended, same, gains = Mended(), Mended(), []
        for index in source.kept(held_out=True)[::every]:
            image, truth = tensors(source.image(index), source.label(index))
            known = filled(truth.numpy().astype(np.uint8), truth.numpy() == VOID)
            present, known = np.unique(known, return_inverse=True)
            known = known.reshape(truth.shape).astype(np.uint8)
            target = torch.from_numpy(np.where(truth.numpy() == VOID, VOID, known).astype(np.int64))
            rng = np.random.default_rng(zlib.crc32(source.entries[index]["name"].encode()))
            rough = Roughen()(known, rng)
            count = max(2, len(present))
            after = refine(image, one_hot(rough, count))
            mended.add(torch.from_numpy(rough.astype(np.int64)), after, target)
            gains.append(_iou(after, target) - _iou(torch.from_numpy(rough.astype(np.int64)), target))
            after = refine(image, one_hot(known, count))
            same.add(torch.from_numpy(known.astype(np.int64)), after, target)
        found[name] = mended.result() | {
            "IoU_gain": round(100 * float(np.mean(gains)), 2),
            "worse": round(100 * float(np.mean(np.array(gains) < -0.002)), 1),
            "truth_broken": same.result()["broken"],
        }
    found["thin"] = thin(refine, packed, every)
    return found


def thin(refine: Refine, packed: Path, every: int) -> dict[str, object]:
    """Drawn thin things over photographs that were not trained on: the truth, and masks of 1/2 and 1/4 of the size."""
    source = Packed(packed, "camvid_val")
    found: dict[str, object] = {}
    truth_kept, half, small = Mended(), Mended(), Regions()
    for index in range(0, len(source.entries) - 1, 2 * every):
        rng = np.random.default_rng(index)
        made, label = paste(
            source.image(index)[:256, :256], [np.ascontiguousarray(source.image(index + 1)[:256, 100:356])], rng
        )
        image, truth = tensors(made, label)
        after = refine(image, one_hot(label, 2))
        truth_kept.add(truth, after, truth)
        small.add(truth, after, truth)
        rough = cv2.resize(
            cv2.resize(label, (64, 64), interpolation=cv2.INTER_NEAREST_EXACT),
            (256, 256),
            interpolation=cv2.INTER_NEAREST_EXACT,
        )
        half.add(torch.from_numpy(rough.astype(np.int64)), refine(image, one_hot(rough, 2)), truth)
    found["truth_broken"] = truth_kept.result()["broken"]
    found["blocks_of_4"] = half.result()
    found["small_truth"] = small.result()["right"]
    return found


def _iou(labels: Tensor, truth: Tensor) -> float:
    values = []
    for label in truth[truth != VOID].unique():
        a, b = (labels == label) & (truth != VOID), truth == label
        values.append(float((a & b).sum() / (a | b).sum().clamp_min(1)))
    return float(np.mean(values))


def by_network(network: torch.nn.Module) -> Refine:
    """A network of log-probabilities as a refiner; no class comes out that was nowhere the most likely one."""

    def refine(image: Tensor, shares: Tensor) -> Tensor:
        with torch.inference_mode():
            shares = (
                F.interpolate(shares, size=image.shape[-2:], mode="bilinear")
                if shares.shape[-2:] != image.shape[-2:]
                else shares
            )
            present = shares.argmax(dim=1).unique()
            return present[network(image, shares)[0, present].argmax(dim=0)]

    return refine


def packaged(name: str) -> Refine:
    """A refiner that comes along."""
    from spatialprop import Refiner

    refiner = Refiner.load(name)

    def refine(image: Tensor, shares: Tensor) -> Tensor:
        if shares.shape[-2:] == image.shape[-2:]:
            return refiner(image[0], shares[0].argmax(dim=0))
        return refiner(image[0], shares[0])

    return refine


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--packed", type=Path, default=Path("packed"))
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    started = time.time()
    if given.checkpoint in ("light", "base", "small"):
        refine = packaged(given.checkpoint)
    else:
        from train_refiner import load

        refine = by_network(load(Path(given.checkpoint)))
    for title, values in score(refine, given.packed, given.every).items():
        print(title, json.dumps(values), flush=True)
    print(f"{time.time() - started:.0f} s")
