"""Tide pools: a data set that is drawn, not downloaded."""

import zlib
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from spatialprop.data.example import Example, Splits
from spatialprop.data.label_set import LabelSet
from spatialprop.data.sets.source import Source

Array = NDArray[np.float64]  # points are (..., 2), x and y in pixels; angles are in radians
SOURCE = Source(page="data/synthetic/README.md", terms="none: it is drawn by this package")


class SyntheticShapes:
    """Images of tide pools: textured creatures with thin, bent limbs that hide each other on a textured ground.

    A class shows in its shape and in its family of colours, and families overlap. Borders bend and run at every angle,
    and limbs thin out to a pixel or two, so a segmentation at an eighth of the resolution loses them.
    Pebbles are ground, haze takes the contrast from patches of the image, and every image has its own light.

    Image `index` depends on the seed, the split and the size alone: it is the same in any process, in any order, and
    for any number of images.

    Args:
        split: Another split has other images.
        count: Number of images.
        seed: Another seed gives other images.
        size: Height and width of every image. Creatures have the same size in pixels in all of them.

    Example:
        >>> SyntheticShapes("train", count=200)[7].image.shape
        (192, 256, 3)
    """

    labels = LabelSet("synthetic", ("background", "squid", "star", "spiral", "ring", "fern"))

    def __init__(self, split: str, count: int, seed: int = 0, size: tuple[int, int] = (192, 256)) -> None:
        if count < 0 or seed < 0 or min(size) < 1:
            raise ValueError(
                f"count and seed must not be negative and sides must be at least 1 pixel; "
                f"got count = {count}, seed = {seed}, size = {size}"
            )
        self.split = split
        self.count = count
        self.seed = seed
        self.size = size

    def __len__(self) -> int:
        return self.count

    @property
    def names(self) -> list[str]:
        return [self._name(index) for index in range(self.count)]

    def __getitem__(self, index: int) -> Example:
        if not -self.count <= index < self.count:
            raise IndexError(f"image {index} of {self.count}")
        index %= self.count
        rng = np.random.default_rng((self.seed, zlib.crc32(self.split.encode()), index, *self.size))
        image, label = _draw(rng, *self.size)
        return Example(self._name(index), image, label)

    def _name(self, index: int) -> str:
        return f"{self.split}_{index:05d}"


def _draw(rng: np.random.Generator, height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One image and its label."""
    share = height * width / (192 * 256)
    pebbles, creatures = (max(1, round(share * rng.uniform(*bounds))) for bounds in ((3, 10), (5, 8)))
    kinds = rng.permutation(np.arange(creatures) + rng.integers(5)) % 5 + 1  # every class before any comes twice
    class_of = np.concatenate([np.zeros(1 + pebbles), kinds]).astype(np.uint8)

    owner = np.zeros((height, width), np.uint16)  # index of the visible thing at each pixel, 0 for the ground
    outline = (_pebble, _squid, _star, _spiral, _ring, _fern)
    for thing, kind in enumerate(class_of[1:], start=1):
        centre = rng.uniform(0.04, 0.96, 2) * (width, height)
        for part in outline[kind](rng, centre):
            cv2.fillPoly(owner, [np.rint(part * 16).astype(np.int32)], thing, shift=4)
    return _paint(rng, owner, class_of), class_of[owner]


def _paint(rng: np.random.Generator, owner: NDArray[np.uint16], class_of: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colour, texture, light, haze and noise."""
    height, width = owner.shape
    clouds = _clouds(rng, height, width, 28, 3)

    first, second = _colours(rng, class_of)
    mix = _texture(rng, owner, len(class_of), clouds)[..., None]
    image = first[owner] * (1 - mix) + second[owner] * mix  # (H, W, 3)

    # Things drawn later lie higher, and cast a shadow on the side away from the light.
    level = np.linspace(0, 1, len(class_of), dtype=np.float32)[owner]
    away = np.hstack([np.eye(2), rng.normal(0, 3, (2, 1))])
    around = cv2.warpAffine(level, away, (width, height), borderMode=cv2.BORDER_REPLICATE)
    relief = level - cv2.GaussianBlur(around, (0, 0), 3)
    image *= (np.clip(1 + 0.5 * relief, 0.6, 1.15) * (1 + 0.08 * clouds[..., 2]))[..., None]

    haze = np.clip(_clouds(rng, height, width, 64, 1) * 0.3, 0, 0.45)
    image += haze * (rng.uniform(0.4, 0.8, 3).astype(np.float32) - image)
    image = cv2.GaussianBlur(image, (0, 0), 0.5)
    image += rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(0.01, 0.03))
    return np.asarray(np.rint(np.clip(image, 0, 1) * 255), np.uint8)


def _colours(rng: np.random.Generator, class_of: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Two colours for each thing, RGB from 0 to 1. (2, things, 3)"""
    things = len(class_of)
    creature = class_of > 0
    hue = np.where(creature, class_of * 72.0 + rng.normal(0, 11, things), rng.uniform(0, 360, things))
    saturation = np.where(creature, rng.uniform(0.5, 0.85, things), rng.uniform(0.05, 0.18, things))
    value = rng.uniform(0.4, 0.9, things)
    first = np.stack([hue, saturation, value], axis=1)
    hsv = np.stack([first, first + rng.normal(0, (10, 0.05, 0.12), first.shape)])
    hsv[..., 0] %= 360
    hsv[..., 1:] = hsv[..., 1:].clip(0, 1)
    return np.asarray(cv2.cvtColor(hsv.astype(np.float32), cv2.COLOR_HSV2RGB), np.float32)


def _texture(
    rng: np.random.Generator, owner: NDArray[np.uint16], things: int, clouds: NDArray[np.float32]
) -> NDArray[np.float32]:
    """How much of its second colour a thing shows at a pixel: wavy stripes or spots. (H, W)"""
    rows, columns = np.indices(owner.shape, np.float32)
    waves = []
    for _ in range(2):
        angle, length = rng.uniform(0, 2 * np.pi, things), rng.uniform(5, 24, things)
        across, down = (2 * np.pi / length * (np.cos(angle), np.sin(angle))).astype(np.float32)
        waves.append(np.sin(across[owner] * columns + down[owner] * rows + 2 * clouds[..., 0]))
    striped = (rng.random(things) < 0.5)[owner]
    pattern = waves[0] * np.where(striped, 1, waves[1])
    return np.asarray(np.clip(0.5 + 0.5 * pattern + 0.2 * clouds[..., 1], 0, 1), np.float32)


def _clouds(rng: np.random.Generator, height: int, width: int, cell: int, channels: int) -> NDArray[np.float32]:
    """Smooth noise of unit variance or so, with bumps of `cell` pixels. (H, W, channels)"""
    coarse = rng.standard_normal((height // cell + 3, width // cell + 3, channels), np.float32)
    clouds = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(clouds, np.float32).reshape(height, width, channels)


def _around(steps: int) -> Array:
    return np.linspace(0, 2 * np.pi, steps)


def _polar(centre: Array, angle: Array, radius: Array, tilt: float = 0.0, flat: float = 1.0) -> Array:
    """Points around `centre`, flattened across the direction `tilt`. (steps, 2)"""
    x, y = radius * np.cos(angle), flat * radius * np.sin(angle)
    points: Array = np.stack([x * np.cos(tilt) - y * np.sin(tilt), x * np.sin(tilt) + y * np.cos(tilt)], axis=1)
    return points + centre


def _limbs(start: Array, heading: Array, turn: Array, length: float, thickness: tuple[float, float]) -> Array:
    """Outlines of bent, tapering bands. (limbs, 2 * steps, 2)

    Limb n leaves `start[n]` in the direction `heading[n]` and turns by `turn[n, t]` at step t.
    """
    steps = turn.shape[1]
    angle = heading[:, None] + np.cumsum(turn, axis=1)
    along = np.stack([np.cos(angle), np.sin(angle)], axis=2)  # (limbs, steps, 2)
    spine = start[:, None] + np.cumsum(along, axis=1) * length / steps
    across = np.stack([-along[..., 1], along[..., 0]], axis=2) * np.linspace(*thickness, steps)[:, None] / 2
    return np.concatenate([spine + across, (spine - across)[:, ::-1]], axis=1)


def _pebble(rng: np.random.Generator, centre: Array) -> list[Array]:
    angle = _around(24)
    bumps = 1 + 0.12 * np.sin(2 * angle + rng.uniform(0, 6)) + 0.06 * np.sin(3 * angle + rng.uniform(0, 6))
    return [_polar(centre, angle, rng.uniform(5, 20) * bumps, rng.uniform(0, np.pi), rng.uniform(0.5, 1))]


def _squid(rng: np.random.Generator, centre: Array) -> list[Array]:
    """A drop-shaped body that trails waving arms."""
    size, heading, arms = rng.uniform(24, 36), rng.uniform(0, 2 * np.pi), int(rng.integers(4, 8))
    ahead = np.array([np.cos(heading), np.sin(heading)])
    angle = _around(32)
    body = _polar(
        centre + 0.6 * size * ahead, angle, size * (1 + 0.25 * np.cos(angle) ** 3), heading, rng.uniform(0.6, 0.85)
    )
    fan = heading + np.pi + np.linspace(-1.1, 1.1, arms) + rng.normal(0, 0.1, arms)
    waves = np.sin(np.linspace(0, rng.uniform(4, 9), 24) + rng.uniform(0, 6, (arms, 1))) * rng.uniform(0.15, 0.35)
    thickness = (rng.uniform(11, 15), 2.0)
    return [*_limbs(np.tile(centre, (arms, 1)), fan, waves, size * rng.uniform(2, 3.2), thickness), body]


def _star(rng: np.random.Generator, centre: Array) -> list[Array]:
    """Pointed arms that all bend one way."""
    size, arms = rng.uniform(45, 70), int(rng.integers(5, 9))
    angle = _around(20 * arms)
    radius = 0.35 + 0.65 * np.abs(np.cos(arms / 2 * angle)) ** rng.uniform(2, 4)
    bend = rng.uniform(-0.9, 0.9) * radius**2
    return [_polar(centre, angle + bend, size * radius, rng.uniform(0, np.pi), rng.uniform(0.75, 1))]


def _spiral(rng: np.random.Generator, centre: Array) -> list[Array]:
    """A band wound outwards either way, thinner and thinner."""
    thickness = rng.uniform(16, 22)
    turned = np.linspace(0.6, 2 * np.pi * rng.uniform(1.3, 2), 96)
    radius = (thickness + rng.uniform(4, 10)) * turned / (2 * np.pi)
    half = np.linspace(thickness, 3, 96) / 2
    angle = rng.choice([-1, 1]) * turned + rng.uniform(0, 2 * np.pi)
    return [np.concatenate([_polar(centre, angle, radius + half), _polar(centre, angle, radius - half)[::-1]])]


def _ring(rng: np.random.Generator, centre: Array) -> list[Array]:
    """A tilted ring, thick on one side and thin on the other."""
    angle, tilt, flat = _around(48), rng.uniform(0, np.pi), rng.uniform(0.5, 0.9)
    radius = rng.uniform(30, 56) * (1 + 0.08 * np.sin(3 * angle + rng.uniform(0, 6)))
    half = rng.uniform(8, 13) * (1 + 0.7 * np.cos(angle + rng.uniform(0, 6)))
    sides = [_polar(centre, angle, radius + half, tilt, flat), _polar(centre, angle, radius - half, tilt, flat)[::-1]]
    return [np.concatenate(sides)]


def _fern(rng: np.random.Generator, centre: Array) -> list[Array]:
    """A bent stem with blades on both sides."""
    length, heading, pairs = rng.uniform(80, 140), rng.uniform(0, 2 * np.pi), int(rng.integers(4, 7))
    turn = np.full((1, 24), rng.uniform(-0.06, 0.06))
    foot = centre - length / 2 * np.array([np.cos(heading), np.sin(heading)])
    (stem,) = _limbs(foot[None], np.array([heading]), turn, length, (13.0, 3.0))
    spine = (stem[:24] + stem[:23:-1]) / 2
    joints = np.linspace(3, 22, pairs).astype(int)
    parts = [stem]
    for side in (-1, 1):
        lean = heading + np.cumsum(turn)[joints] + side * rng.uniform(0.7, 1.1)
        droop = np.full((pairs, 12), -side * rng.uniform(0.02, 0.08))
        parts += list(_limbs(spine[joints], lean, droop, rng.uniform(30, 50), (15.0, 2.0)))
    return parts


def synthetic(*, train: int, val: int, test: int, size: Sequence[int], seed: int) -> Splits:
    """So many built-in images for each split, all of one size (H, W)."""
    counts = {"train": train, "val": val, "test": test}
    for split, count in counts.items():
        if count < 1:
            raise ValueError(f"data.{split} must be at least 1 image; got {count}")
    height, width = size
    return Splits(*(SyntheticShapes(split, count, seed, (height, width)) for split, count in counts.items()))
