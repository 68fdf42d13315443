"""Training patches: each is made of a seed and its index alone, so that any run can go on exactly where it stopped."""

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from spatialprop.data import VOID, DegradeCoarse
from spatialprop.data.coarse.pasted import paste
from spatialprop.data.coarse.roughen import Roughen, filled

HELD_OUT = {"objects": 100, "clothes": 100, "voc_more": 100}  # for validation, chosen by their names
SEGMENTERS = 0.45  # of the patches that have a segmenter's map show it as it is,
LABELS_OF_SEGMENTERS = 0.2  # and these its labels; the rest, and all others, show rough masks
TRUE = 0.25  # of the masks are the truth
HOLES = 0.06  # of all coarse maps say nothing somewhere
MOST_CLASSES = 6


class Mixture(NamedTuple):
    """Which packed sets the patches are made of."""

    shares: dict[str, float]  # of the patches, by set; "pasted" are made of the others
    soft: float  # of the rough masks are as soft as a segmenter's map
    below: Sequence[str]  # sets whose photographs lie below what is pasted, and whose texture it has
    cutters: Sequence[str] = ()  # sets whose labels cut things out, beside drawn shapes
    cutouts: Sequence[str] = ()  # sets of things with their alpha
    zoom: float = 2.0  # photographs are shown enlarged by 2 and reduced by this at most
    pasted_things: Sequence[float] = (0.6, 0.25, 0.15)  # how often 1, 2, ... things are pasted


_WITH_MASKS = {
    "voc_animals": 0.15,
    "voc_extra": 0.08,
    "camvid": 0.15,
    "faces": 0.16,
    "clothes": 0.1,
    "objects": 0.18,
    "voc_more": 0.05,
    "drawn": 0.04,
}
_FREE = Mixture(
    {"drawn": 0.12, "pasted": 0.88},
    soft=0.45,  # no segmenter has seen these photographs
    below=("free_photos",),
    cutouts=("free_cutouts",),
    zoom=4.0,
    pasted_things=(0.45, 0.25, 0.15, 0.1, 0.05),
)
MIXTURES = {
    "research": Mixture(
        _WITH_MASKS | {"pasted": 0.15}, soft=0.25, below=tuple(_WITH_MASKS), cutters=("objects", "clothes", "faces")
    ),
    "free": _FREE,  # every use is allowed
    "gpl": _FREE._replace(below=("free_photos", "free_gpl_photos"), cutouts=("free_cutouts", "free_gpl_cutouts")),
}


class Packed:
    """A folder that `pack.py` packed."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self.pixels = np.memmap(root / f"{name}.pixels", np.uint8, "r")
        coarse = root / f"{name}.coarse"
        self.coarse = np.memmap(coarse, np.uint8, "r") if coarse.exists() and coarse.stat().st_size else None
        self.entries = json.loads((root / f"{name}.json").read_text())

    def kept(self, held_out: bool) -> list[int]:
        """Which images are for training, or are not."""
        order = sorted(range(len(self.entries)), key=lambda i: zlib.crc32(self.entries[i]["name"].encode()))
        count = HELD_OUT.get(self.name, 0)
        return sorted(order[:count] if held_out else order[count:])

    def image(self, index: int) -> NDArray[np.uint8]:
        height, width = self.entries[index]["size"]
        start = self.entries[index]["at"]
        return self.pixels[start : start + height * width * 3].reshape(height, width, 3)

    def label(self, index: int) -> NDArray[np.uint8]:
        height, width = self.entries[index]["size"]
        start = self.entries[index]["at"] + height * width * 3
        return self.pixels[start : start + height * width].reshape(height, width)

    def shares(self, index: int) -> NDArray[np.uint8] | None:
        """The coarse map of a segmenter, if it has one. (K, h, w)"""
        entry = self.entries[index]
        if self.coarse is None or "coarse_at" not in entry:
            return None
        classes, height, width = entry["coarse_size"]
        start = entry["coarse_at"]
        return self.coarse[start : start + classes * height * width].reshape(classes, height, width)


class Window(NamedTuple):
    top: int
    left: int
    side: int


class Patches(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Image (3, S, S) in bytes, shares (K, S, S) and label (S, S) of patch `index`."""

    def __init__(
        self, root: Path, size: int = 128, seed: int = 0, count: int = 1 << 40, mixture: Mixture = MIXTURES["research"]
    ) -> None:
        self.root, self.size, self.seed, self.count, self.mixture = root, size, seed, count, mixture
        self.sets: dict[str, Packed] = {}
        self.kept: dict[str, list[int]] = {}
        self.roughen = Roughen()
        self.degrade = DegradeCoarse()

    def __len__(self) -> int:
        return self.count

    def _open(self) -> None:
        if not self.sets:
            cv2.setNumThreads(0)
            mixture = self.mixture
            for name in {*mixture.shares, *mixture.below, *mixture.cutters, *mixture.cutouts} - {"pasted"}:
                self.sets[name] = Packed(self.root, name)
                self.kept[name] = self.sets[name].kept(held_out=False)
            self.names, shares = list(mixture.shares), np.array(list(mixture.shares.values()))
            self.often = shares / shares.sum()

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        self._open()
        rng = np.random.default_rng((self.seed, index))
        name = self.names[int(rng.choice(len(self.names), p=self.often))]
        if name == "pasted":
            image, label = self._pasted(rng)
            given = None
        else:
            image, label, given = self._photograph(name, rng)
        if rng.random() < 0.5:
            image, label = image[:, ::-1], label[:, ::-1]
            given = None if given is None else given[..., ::-1]
        image = _photometric(np.ascontiguousarray(image), rng)
        label = np.ascontiguousarray(label)
        shares, label = self._coarse(given, label, rng)
        return (
            torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
            torch.from_numpy(shares),
            torch.from_numpy(label.astype(np.int64)),
        )

    def _photograph(
        self, name: str, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32] | None]:
        source = self.sets[name]
        index = int(rng.choice(self.kept[name]))
        label, image = source.label(index), source.image(index)
        window = _choose(label, self.size, rng, 2.0)
        seen, truth = _cut(image, window, self.size, label=False), _cut(label, window, self.size, label=True)
        shares = source.shares(index)
        given = None
        if shares is not None and rng.random() < SEGMENTERS + LABELS_OF_SEGMENTERS:
            labels = rng.random() < LABELS_OF_SEGMENTERS / (SEGMENTERS + LABELS_OF_SEGMENTERS)
            given = self._segmenters(shares, image.shape[:2], window, truth, labels, rng)
        return seen, truth, given

    def _segmenters(
        self,
        shares: NDArray[np.uint8],
        size: tuple[int, ...],
        window: Window,
        truth: NDArray[np.uint8],
        labels: bool,
        rng: np.random.Generator,
    ) -> NDArray[np.float32]:
        """The segmenter's map or its labels, made worse, where the window is. (K, S, S)"""
        if rng.random() < 0.75:
            shares = self.degrade(np.asarray(shares), rng)
        blocky = labels and rng.random() < 0.7
        if blocky:
            shares = (shares.argmax(axis=0) == np.arange(len(shares))[:, None, None]).astype(np.uint8) * 255
        way = cv2.INTER_NEAREST if blocky else cv2.INTER_LINEAR
        down, across = shares.shape[1] / size[0], shares.shape[2] / size[1]
        step = window.side / self.size
        rows = ((np.arange(self.size) + 0.5) * step + window.top) * down - 0.5
        columns = ((np.arange(self.size) + 0.5) * step + window.left) * across - 0.5
        at = np.meshgrid(columns.astype(np.float32), rows.astype(np.float32))
        low = [max(0, int(rows[0]) - 1), max(0, int(columns[0]) - 1)]
        high = [int(rows[-1]) + 3, int(columns[-1]) + 3]
        part = shares[:, low[0] : high[0], low[1] : high[1]].astype(np.float32) / 255
        weight = part.mean(axis=(1, 2)) + np.bincount(truth[truth != VOID], minlength=256)[: len(part)] / truth.size
        chosen = np.sort(np.argsort(-weight)[:MOST_CLASSES])
        moved = [
            cv2.remap(one, at[0] - low[1], at[1] - low[0], way, borderMode=cv2.BORDER_REPLICATE) for one in part[chosen]
        ]
        given = np.zeros((len(shares), self.size, self.size), np.float32)
        given[chosen] = np.stack(moved)
        if labels:
            given[chosen] = given[chosen].argmax(axis=0) == np.arange(len(chosen))[:, None, None]
        return given

    def _pasted(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        mixture = self.mixture
        often = mixture.pasted_things
        count = int(rng.choice(np.arange(len(often)) + 1, p=often))
        patches, masks = [], []
        for place in range(count + 1):
            if place > 0 and mixture.cutouts and rng.random() < 0.35:
                patch, mask = self._thing(rng)
                patches.append(patch)
                masks.append(mask)
                continue
            cut = place > 0 and len(mixture.cutters) > 0 and rng.random() < 0.3
            names = mixture.cutters if cut else mixture.below
            name = names[int(rng.choice(len(names)))]
            source = self.sets[name]
            index = int(rng.choice(self.kept[name]))
            label = source.label(index)
            window = _choose(label, self.size, rng, mixture.zoom)
            patches.append(_cut(source.image(index), window, self.size, label=False))
            if place > 0:
                part = _cut(label, window, self.size, label=True)
                mask = np.where((part > 0) & (part != VOID), 255, 0).astype(np.uint8)
                share = mask.mean() / 255
                masks.append(cv2.GaussianBlur(mask, (0, 0), 0.7) if cut and 0.02 < share < 0.98 else None)
        return paste(patches[0], patches[1:], rng, masks)

    def _thing(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        """A cut-out, turned, scaled and moved; its mask, or nothing if too little of it is left."""
        names = self.mixture.cutouts
        source = self.sets[names[int(rng.choice(len(names)))]]
        index = int(rng.integers(len(source.entries)))
        alpha = source.label(index).astype(np.float32)[..., None] / 255
        layers = np.concatenate([source.image(index) * alpha, alpha], axis=2)  # colours without those of no alpha
        height, width = alpha.shape[:2]
        scale = self.size * float(np.exp(rng.uniform(np.log(0.25), np.log(1.5)))) / max(height, width)
        if scale < 1:
            reduced = (max(2, round(width * scale)), max(2, round(height * scale)))
            layers = cv2.resize(layers, reduced, interpolation=cv2.INTER_AREA)
        centre = np.array([layers.shape[1], layers.shape[0]]) / 2
        turn = np.array(cv2.getRotationMatrix2D(centre.tolist(), float(rng.normal(0, 20)), max(1.0, scale)))
        turn[:, 2] += rng.uniform(0.1, 0.9, 2) * self.size - centre
        layers = cv2.warpAffine(layers, turn, (self.size, self.size), flags=cv2.INTER_LINEAR)
        mask = np.rint(255 * layers[..., 3]).astype(np.uint8)
        around = cv2.GaussianBlur(layers, (0, 0), 2)  # what a blurred border shows
        layers = layers + np.maximum(0, 1 - layers[..., 3:]) * around / np.maximum(around[..., 3:], 1e-3)
        enough = 0.01 < np.mean(mask >= 128) < 0.98
        return np.clip(np.rint(layers[..., :3]), 0, 255).astype(np.uint8), mask if enough else None

    def _coarse(
        self, given: NDArray[np.float32] | None, label: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Shares of a few classes, and the label in their numbers."""
        void = label == VOID
        if given is not None:  # its classes have the label's numbers
            present = np.flatnonzero(given.any(axis=(1, 2)))
            power = np.exp(rng.uniform(np.log(0.5), np.log(4))) if rng.random() < 0.4 else 1
            shares = given[present] ** np.float32(power)
            shares = shares / np.maximum(shares.sum(axis=0), 1e-6)
            label = _renumbered(label, present)
        else:
            known = filled(label, void)
            present, areas = np.unique(known, return_counts=True)
            if len(present) > MOST_CLASSES:
                kept = present[np.argsort(-areas)[:MOST_CLASSES]]
                void |= ~np.isin(known, kept)
                known = filled(known, ~np.isin(known, kept))
                present = np.sort(kept)
            known = _renumbered(known, present)
            label = np.where(void, VOID, known).astype(np.uint8)
            count = len(present)
            if rng.random() >= self.mixture.soft:
                rough = known if rng.random() < TRUE else self.roughen(known, rng)
                shares = (rough == np.arange(count)[:, None, None]).astype(np.float32)
            else:
                rough = self.roughen(known, rng) if rng.random() < 0.3 else known
                shares = (rough == np.arange(count)[:, None, None]).astype(np.float32)
                shares = _as_segmenter(shares, rng)
        shares = np.asarray(shares, np.float32)
        if rng.random() < HOLES:
            shares = shares * ~_hole(shares.argmax(axis=0), rng)
        return shares, label


def _renumbered(label: NDArray[np.uint8], present: NDArray[np.integer]) -> NDArray[np.uint8]:
    numbers = np.full(256, VOID, np.uint8)
    numbers[present] = np.arange(len(present))
    return numbers[label]


def _hole(labels: NDArray[np.integer], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Where nothing shall be known: around the borders of labels, or in a rectangle."""
    height, width = labels.shape
    if rng.random() < 0.6:
        reach = 2 * int(rng.integers(1, 12)) + 1
        shown = labels.astype(np.float32)
        return np.asarray(cv2.dilate(shown, np.ones((reach, reach))) != cv2.erode(shown, np.ones((reach, reach))))
    hole = np.zeros((height, width), bool)
    tall, wide = (int(side * rng.uniform(0.1, 0.7)) for side in (height, width))
    top, left = int(rng.integers(height - tall)), int(rng.integers(width - wide))
    hole[top : top + tall, left : left + wide] = True
    return hole


def _as_segmenter(shares: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """What a segmenter of some stride would make of it: cells, blur, doubt, regions that lean to other classes."""
    count, height, width = shares.shape
    cell = float(np.exp(rng.uniform(np.log(3), np.log(20))))
    moved = []
    shift = cell * rng.uniform(0, 0.5)
    knots = [max(2, round(side / (cell * rng.uniform(1, 3))) + 1) for side in (height, width)]
    by = cv2.resize(rng.normal(0, shift, (*knots, 2)).astype(np.float32), (width, height))
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    cells = (max(1, round(width / cell)), max(1, round(height / cell)))
    for one in shares:
        bent = cv2.remap(
            one, columns + by[..., 0], rows + by[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        moved.append(
            cv2.GaussianBlur(cv2.resize(bent, cells, interpolation=cv2.INTER_AREA), (3, 3), rng.uniform(0.2, 1))
        )
    small = np.maximum(np.stack(moved), 2e-3)
    size = np.float32(rng.uniform(0, 1.2))
    for side in (2, 5):
        noise = rng.normal(size=(max(2, -(-cells[1] // side)), max(2, -(-cells[0] // side)), count)).astype(np.float32)
        noise = cv2.resize(noise, cells).reshape(cells[1], cells[0], count)
        small = small * np.exp(size * noise.transpose(2, 0, 1))
    small = small / small.sum(axis=0)
    small = small ** np.float32(np.exp(rng.uniform(np.log(0.5), np.log(4))))
    small = small / small.sum(axis=0)
    doubt = np.float32(rng.uniform(0, 0.15))
    small = (1 - doubt) * small + doubt / count
    return np.stack([cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR) for one in small])


def _choose(label: NDArray[np.uint8], size: int, rng: np.random.Generator, zoom: float) -> Window:
    """A square window that holds more than one label, if one is found soon."""
    height, width = label.shape
    side = round(size / float(np.exp(rng.uniform(-np.log(zoom), np.log(2)))))
    side = max(16, min(side, height, width))
    window = Window(0, 0, side)
    for _ in range(6):
        window = Window(int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1)), side)
        seen = label[window.top : window.top + side : 4, window.left : window.left + side : 4]
        counts = np.bincount(seen[seen != VOID], minlength=2)
        if counts.sum() - counts.max() > 0.03 * seen.size:
            break
    return window


def _cut(pixels: NDArray[np.uint8], window: Window, size: int, *, label: bool) -> NDArray[np.uint8]:
    part = np.asarray(pixels[window.top : window.top + window.side, window.left : window.left + window.side])
    if window.side == size:
        return part
    if not label:
        way = cv2.INTER_AREA if window.side > size else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(part, (size, size), interpolation=way), np.uint8)
    if window.side > size:
        return np.asarray(cv2.resize(part, (size, size), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
    present = np.unique(part)
    maps = [
        cv2.resize((part == one).astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR) for one in present
    ]
    return np.asarray(present[np.stack(maps).argmax(axis=0)], np.uint8)


def _photometric(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    seen = image.astype(np.float32)
    if rng.random() < 0.7:
        grey = seen.mean(axis=2, keepdims=True)
        seen = grey + np.float32(rng.uniform(0.4, 1.4)) * (seen - grey)
        seen = seen * rng.uniform(0.85, 1.15, 3).astype(np.float32)
        seen = (seen - 128) * np.float32(rng.uniform(0.6, 1.3)) + np.float32(128 + rng.normal(0, 18))
    if rng.random() < 0.05:
        seen = np.repeat(seen.mean(axis=2, keepdims=True), 3, axis=2)
    if rng.random() < 0.15:
        seen = cv2.GaussianBlur(seen, (0, 0), float(rng.uniform(0.4, 1.3)))
    if rng.random() < 0.25:
        seen = seen + rng.standard_normal(seen.shape, np.float32) * np.float32(rng.uniform(1, 10))
    made = np.clip(np.rint(seen), 0, 255).astype(np.uint8)
    if rng.random() < 0.15:
        _, coded = cv2.imencode(".jpg", made, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 90))])
        made = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    return made


def collate(samples: list[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """A batch; classes that a patch does not have get no share."""
    images, shares, labels = zip(*samples, strict=True)
    most = max(len(one) for one in shares)
    padded = torch.zeros(len(shares), most, *shares[0].shape[1:])
    for place, one in enumerate(shares):
        padded[place, : len(one)] = one
    return torch.stack(images), padded, torch.stack(labels)
