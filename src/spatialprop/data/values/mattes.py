"""Drawn foregrounds with an exact alpha: hair, fur, thin things, glass, smoke, what moves or is out of focus."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from spatialprop.data.coarse.pasted import draw

Map = NDArray[np.float32]
FINE = 2  # alphas are drawn so many times larger


class Foreground(NamedTuple):
    """What is put before a background."""

    alpha: Map  # (H, W), from 0 to 1
    colours: Map  # (H, W, 3), from 0 to 255, also where alpha is 0


def draw_foreground(texture: NDArray[np.uint8], rng: np.random.Generator) -> Foreground:
    """A foreground of one kind, in colours that `texture` (H, W, 3), a photograph of the same size, gives it."""
    kind = KINDS[int(rng.choice(len(KINDS), p=_OFTEN))]
    alpha, colours = kind(texture, rng)
    if rng.random() < 0.5:  # no lens is perfect
        alpha = _blurred(alpha, float(rng.uniform(0.3, 0.9)))
    return Foreground(np.clip(alpha, 0, 1), colours)


def _hair(texture: NDArray[np.uint8], rng: np.random.Generator) -> tuple[Map, Map]:
    """Long strands around a solid body."""
    reach = float(np.exp(rng.uniform(np.log(0.1), np.log(0.5)))) * min(texture.shape[:2])
    return _strands(texture, rng, count=int(rng.integers(40, 500)), reach=reach, bend=float(rng.uniform(0.02, 0.2)))


def _fur(texture: NDArray[np.uint8], rng: np.random.Generator) -> tuple[Map, Map]:
    """Short strands, side by side."""
    reach = float(rng.uniform(4, 18))
    return _strands(texture, rng, count=int(rng.integers(200, 700)), reach=reach, bend=float(rng.uniform(0.02, 0.15)))


def _strands(
    texture: NDArray[np.uint8], rng: np.random.Generator, *, count: int, reach: float, bend: float
) -> tuple[Map, Map]:
    height, width = texture.shape[:2]
    level = _level(height, width, rng, cell=float(rng.uniform(0.35, 1.2)) * min(height, width))
    body = (cv2.resize(level, (FINE * width, FINE * height), interpolation=cv2.INTER_LINEAR) > 0).astype(np.uint8)
    alpha = body * np.uint8(255)
    base = texture.reshape(-1, 3)[int(rng.integers(height * width))].astype(np.float32)
    if rng.random() < 0.5:  # hair has less colour
        base = base.mean() + np.float32(rng.uniform(0, 0.6)) * (base - base.mean())
    shade = texture.astype(np.float32) - texture.mean(axis=(0, 1))
    colours = base + np.float32(rng.uniform(0.1, 1.0)) * (shade if rng.random() < 0.5 else shade.mean(2, keepdims=True))
    painted = cv2.resize(colours, (FINE * width, FINE * height))
    contours, _ = cv2.findContours(body, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    border = np.concatenate([one[:, 0] for one in contours]) if contours else np.zeros((1, 2), np.int32)
    # Locks: most strands start near some others.
    locks = rng.integers(len(border), size=max(1, count // int(rng.integers(1, 40))))
    near = rng.normal(0, FINE * rng.uniform(2, 40), count).astype(int)
    roots = border[(rng.choice(locks, count) + near) % len(border)]
    slope_y, slope_x = np.gradient(cv2.GaussianBlur(level, (0, 0), 3))
    at = np.minimum(roots // FINE, (width - 1, height - 1))
    outwards = np.arctan2(-slope_y[at[:, 1], at[:, 0]], -slope_x[at[:, 1], at[:, 0]])
    lean, pull = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.7)
    heading = outwards + rng.normal(0, 0.35, count) + pull * np.sin(lean - outwards)
    steps = 10
    turns = np.cumsum(rng.normal(0, bend, (count, steps)) + rng.normal(0, bend, (count, 1)), axis=1) + heading[:, None]
    lengths = FINE * reach * np.exp(rng.normal(0, 0.5, count))
    path = np.stack([np.cos(turns), np.sin(turns)], axis=2) * (lengths / steps)[:, None, None]
    inwards = FINE * 2 * np.stack([np.cos(heading), np.sin(heading)], axis=1)
    walk = np.cumsum(np.concatenate([(roots - inwards)[:, None], path], axis=1), axis=1)
    points = np.rint(walk * 16).astype(np.int32)
    opacity = np.sort(np.clip(rng.normal(230, 60, count), 60, 255)) if rng.random() < 0.5 else np.full(count, 255)
    thickest = int(rng.integers(1, 5))
    thickness = rng.integers(1, thickest + 1, count)
    tints = np.clip(base + rng.normal(0, 1, (count, 1)) * rng.uniform(3, 35) + rng.normal(0, 4, (count, 3)), 0, 255)
    for one, wide, opaque, tint in zip(points, thickness.tolist(), opacity.tolist(), tints.tolist(), strict=True):
        cv2.polylines(painted, [one], False, tint, wide + 4, shift=4)
        cv2.polylines(alpha, [one], False, opaque, wide, cv2.LINE_AA, shift=4)
    alpha[body > 0] = 255
    return _smaller(alpha), _smaller_colours(painted, (height, width))


def _thin(texture: NDArray[np.uint8], rng: np.random.Generator) -> tuple[Map, Map]:
    """Nets, branches, leaves, letters; some have holes, all have hard edges."""
    height, width = texture.shape[:2]
    alpha = _smaller(draw(FINE * height, FINE * width, rng))
    return alpha, _one_colour(texture, rng)


def _solid(texture: NDArray[np.uint8], rng: np.random.Generator) -> tuple[Map, Map]:
    """A body with a plain edge, as most borders of most things are."""
    height, width = texture.shape[:2]
    level = _level(height, width, rng, cell=float(rng.uniform(0.2, 1.2)) * min(height, width))
    soft = float(np.exp(rng.uniform(np.log(0.5), np.log(3))))
    slope = np.hypot(*np.gradient(level)) + 1e-4
    return np.clip(0.5 + level / slope / soft, 0, 1).astype(np.float32), _textured(texture, rng)


def _glass(texture: NDArray[np.uint8], rng: np.random.Generator) -> tuple[Map, Map]:
    """A solid rim around what lets light through, with highlights."""
    height, width = texture.shape[:2]
    level = _level(height, width, rng, cell=float(rng.uniform(0.4, 1.2)) * min(height, width))
    slope = np.hypot(*np.gradient(level)) + 1e-4
    depth = np.asarray(level / slope, np.float32)  # about the distance from the border, in pixels
    inside = np.clip(0.5 + depth, 0, 1)
    rim = np.exp(-np.square(np.maximum(depth, 0) / rng.uniform(1.5, 8)))
    veil = np.float32(rng.uniform(0.1, 0.6)) + np.float32(rng.uniform(0, 0.25)) * _level(height, width, rng, cell=24)
    shine = np.clip(_level(height, width, rng, cell=12) * 2 - 2.4, 0, 1)
    alpha = inside * np.clip(np.maximum(np.maximum(rim * rng.uniform(0.5, 1), veil), shine), 0.05, 1)
    colours = _textured(texture, rng)
    return alpha.astype(np.float32), colours + shine[..., None] * (255 - colours)


def _smoke(texture: NDArray[np.uint8], rng: np.random.Generator) -> tuple[Map, Map]:
    """Veils without an edge."""
    height, width = texture.shape[:2]
    level = _level(height, width, rng, cell=float(rng.uniform(0.15, 0.5)) * min(height, width))
    return np.clip(0.4 * level + rng.uniform(-0.1, 0.5), 0, 1).astype(np.float32), _one_colour(texture, rng)


def _moving(texture: NDArray[np.uint8], rng: np.random.Generator) -> tuple[Map, Map]:
    """Something of another kind that moved while it was taken, or is out of focus."""
    kind: Callable[..., tuple[Map, Map]] = (_solid, _thin, _hair)[int(rng.integers(3))]
    alpha, colours = kind(texture, rng)
    if rng.random() < 0.5:
        return _blurred(alpha, float(rng.uniform(1, 6))), _blurred(colours, 2)
    length, angle = int(rng.integers(5, 41)), rng.uniform(0, np.pi)
    line: Map = np.zeros((length | 1, length | 1), np.float32)
    middle, arm = length // 2, np.array([np.cos(angle), np.sin(angle)]) * length / 2
    ends = [tuple(np.rint(middle + side * arm).astype(int).tolist()) for side in (-1, 1)]
    cv2.line(line, ends[0], ends[1], 1.0, 1, cv2.LINE_AA)
    line = line / line.sum()
    return _filtered(alpha, line), _filtered(colours, line)


KINDS: Sequence[Callable[[NDArray[np.uint8], np.random.Generator], tuple[Map, Map]]] = (
    _hair, _fur, _thin, _solid, _glass, _smoke, _moving,
)  # fmt: skip
_OFTEN = (0.3, 0.18, 0.13, 0.13, 0.07, 0.04, 0.15)


def compose(
    background: NDArray[np.uint8], foreground: Foreground, rng: np.random.Generator, *, effects: bool = True
) -> NDArray[np.uint8]:
    """The foreground before a background, as a camera would have it. (H, W, 3)"""
    behind = background.astype(np.float32)
    colours = foreground.colours
    if rng.random() < 0.5:  # backgrounds are often out of focus
        behind = _blurred(behind, float(np.exp(rng.uniform(np.log(0.7), np.log(6)))))
    if rng.random() < 0.3:  # colours like those behind are harder
        ground = behind.mean(axis=(0, 1)) - colours.mean(axis=(0, 1))
        colours = colours + np.float32(rng.uniform(0, 0.8)) * ground
    seen = behind + foreground.alpha[..., None] * (np.clip(colours, 0, 255) - behind)
    if not effects:
        return np.clip(np.rint(seen), 0, 255).astype(np.uint8)
    if rng.random() < 0.6:
        seen = seen * rng.uniform(0.85, 1.15, 3).astype(np.float32)
        seen = (seen - 128) * np.float32(rng.uniform(0.6, 1.25)) + np.float32(128 + rng.normal(0, 18))
    if rng.random() < 0.4:
        seen = seen + rng.standard_normal(seen.shape, np.float32) * np.float32(rng.uniform(1, 8))
    made = np.clip(np.rint(seen), 0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        _, coded = cv2.imencode(".jpg", made, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 98))])
        made = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    return made


def trimap_of(alpha: Map, rng: np.random.Generator, widest: int = 24) -> NDArray[np.uint8]:
    """What a user would paint for an alpha: 0 and 255 where it is certain, 128 between. (H, W)

    Both sides are eroded by random widths, which may differ from place to place. Half of all users paint over gaps:
    what is narrow between unknown parts is unknown too.
    """
    height, width = alpha.shape
    ends = []
    gap = int(rng.integers(1, widest)) if rng.random() < 0.5 else 0
    for solid in (alpha > 0.99, alpha < 0.01):
        narrow, wide = sorted(int(np.exp(rng.uniform(0, np.log(widest)))) for _ in range(2))
        where = _level(height, width, rng, cell=60) > 0 if rng.random() < 0.5 else np.ones(alpha.shape, np.bool_)
        certain = np.where(where, _eroded(solid, narrow), _eroded(solid, wide))
        opened = ~_eroded(~_eroded(certain, gap), gap) if gap else certain
        ends.append(opened if opened.any() else certain)
    inside, outside = ends
    return np.where(inside, 255, np.where(outside, 0, 128)).astype(np.uint8)


def _eroded(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    side = 2 * radius + 1
    return cv2.erode(mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))) > 0


def _level(height: int, width: int, rng: np.random.Generator, *, cell: float) -> Map:
    """Smooth noise with bumps of `cell` pixels, about a third of it below zero or above."""
    total = np.zeros((height, width), np.float32)
    for octave in range(2):
        knots = [max(2, round(side / cell * 2**octave) + 2) for side in (width, height)]
        noise = rng.standard_normal(knots[::-1], np.float32) * np.float32(0.35**octave)
        total += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(total - np.quantile(total, rng.uniform(0.3, 0.7)), np.float32)


def _one_colour(texture: NDArray[np.uint8], rng: np.random.Generator) -> Map:
    mean = texture.reshape(-1, 3)[int(rng.integers(texture.size // 3))].astype(np.float32)
    return np.asarray(mean + np.float32(rng.uniform(0, 0.5)) * (texture - texture.mean(axis=(0, 1))), np.float32)


def _textured(texture: NDArray[np.uint8], rng: np.random.Generator) -> Map:
    return _one_colour(texture, rng) if rng.random() < 0.4 else texture.astype(np.float32)


def _filtered(maps: Map, kernel: Map) -> Map:
    return np.asarray(cv2.filter2D(maps, -1, kernel), np.float32)


def _blurred(alpha: Map, deviation: float) -> Map:
    return np.asarray(cv2.GaussianBlur(alpha, (0, 0), deviation), np.float32)


def _smaller(alpha: NDArray[np.uint8]) -> Map:
    size = (alpha.shape[1] // FINE, alpha.shape[0] // FINE)
    return np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), np.float32) / np.float32(255)


def _smaller_colours(painted: Map, size: tuple[int, int]) -> Map:
    return np.asarray(cv2.resize(painted, size[::-1], interpolation=cv2.INTER_AREA), np.float32)
