"""Shapes cut out of one photograph and pasted into another: real texture, and a truth that is exact."""

import string
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint8]  # (H, W), from 0 to 255


def paste(
    below: NDArray[np.uint8],
    above: Sequence[NDArray[np.uint8]],
    rng: np.random.Generator,
    masks: Sequence[Mask | None] = (),
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """An image (H, W, 3) with a shape cut out of each of `above` on `below`, and its labels: 0, then 1, 2, ...

    Args:
        below, above: Photographs (H, W, 3) of one size.
        rng: Where chance comes from.
        masks: For each of `above` the mask of what it shows, if that is to be the shape; else one is drawn.

    Example:
        >>> black, white = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)
        >>> image, labels = paste(black, [white], np.random.default_rng(0))
        >>> image.shape, labels.shape, int(labels.max())
        ((64, 64, 3), (64, 64), 1)
    """
    height, width = below.shape[:2]
    image = below.astype(np.float32)
    labels = np.zeros((height, width), np.uint8)
    if rng.random() < 0.2:  # out of focus, as what lies behind a thing often is
        image = np.asarray(
            cv2.GaussianBlur(image, (0, 0), float(np.exp(rng.uniform(np.log(0.7), np.log(4))))), np.float32
        )
    ground = image.mean(axis=(0, 1))
    for label, photograph in enumerate(above, start=1):
        known = masks[label - 1] if label <= len(masks) else None
        mask = draw(height, width, rng) if known is None else known
        seen = photograph.astype(np.float32)
        if rng.random() < 0.5:  # colours like those below are harder, others are easier
            seen += rng.uniform(0, 0.9) * (ground - seen.mean(axis=(0, 1)))
        if rng.random() < 0.25:  # what is thin has one colour, mostly
            seen = seen.mean(axis=(0, 1)) + rng.uniform(0, 0.4) * (seen - seen.mean(axis=(0, 1)))
        if rng.random() < 0.25:  # light from one side
            across = rng.normal(0, 1, 2) @ np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].reshape(2, -1)
            seen *= np.exp(rng.uniform(0, 0.5) * across.astype(np.float32)).reshape(height, width, 1)
        inside = mask >= 128
        if inside.any() and np.abs(seen - image)[inside].mean() < 8:  # nobody could see its border
            seen += rng.choice((-1, 1)) * rng.uniform(15, 60)
        if rng.random() < 0.3:  # a shadow beside it
            shift = np.hstack([np.eye(2), rng.normal(0, 3, (2, 1))])
            shadow = cv2.warpAffine(mask, shift, (width, height), borderMode=cv2.BORDER_REPLICATE)
            shadow = cv2.GaussianBlur(shadow, (0, 0), float(rng.uniform(1, 4)))
            image *= 1 - np.float32(rng.uniform(0, 0.5) / 255) * np.asarray(shadow, np.float32)[..., None]
        soft: NDArray[np.integer | np.floating] = mask
        if rng.random() < 0.6:
            soft = cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.3, 1.2)))
        alpha = np.asarray(soft, np.float32)[..., None] / np.float32(255)
        image += alpha * (np.clip(seen, 0, 255) - image)
        labels[inside] = label
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), labels


def draw(height: int, width: int, rng: np.random.Generator) -> Mask:
    """A mask of one kind of shape, drawn at random."""
    way = SHAPES[int(rng.choice(len(SHAPES), p=_OFTEN))]
    return way(height, width, rng)


def _blobs(height: int, width: int, rng: np.random.Generator) -> Mask:
    cell = rng.uniform(6, 50)
    total = np.zeros((height, width), np.float32)
    for octave in range(3):
        knots = [max(2, round(side / cell * 2**octave) + 1) for side in (height, width)]
        noise = rng.standard_normal(knots, np.float32) * np.float32(0.6**octave)
        total += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return _soft_edge(total - np.quantile(total, rng.uniform(0.3, 0.85)), 0.15)


def _soft_edge(level: NDArray[np.float32], ramp: float) -> Mask:
    return np.asarray(np.clip(127.5 + 127.5 * level / ramp, 0, 255), np.uint8)


def _outlines(height: int, width: int, rng: np.random.Generator) -> Mask:
    """Polygons, stars and leaves."""
    mask = np.zeros((height, width), np.uint8)
    for _ in range(int(rng.integers(1, 5))):
        corners = int(rng.integers(3, 24))
        angle = np.sort(rng.uniform(0, 2 * np.pi, corners))
        size = np.exp(rng.uniform(np.log(6), np.log(60)))
        radius = size * rng.uniform(rng.uniform(0.15, 1), 1, corners)
        flat = rng.uniform(0.2, 1)
        points = np.stack([radius * np.cos(angle), flat * radius * np.sin(angle)], axis=1)
        turn = rng.uniform(0, 2 * np.pi)
        points = points @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        points += rng.uniform(0, 1, 2) * (width, height)
        cv2.fillPoly(mask, [np.rint(points * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    return mask


def _strands(height: int, width: int, rng: np.random.Generator) -> Mask:
    """Hair, branches, vessels, limbs: bent lines that taper."""
    mask = np.zeros((height, width), np.uint8)
    thickest = float(np.exp(rng.uniform(0, np.log(9))))
    spread = rng.uniform(0, 0.3)
    lean = rng.uniform(0, 2 * np.pi)
    for _ in range(int(rng.integers(1, 3 + round(24 / thickest)))):
        steps = int(rng.integers(6, 24))
        heading = lean + rng.normal(0, spread * 6) + np.cumsum(rng.normal(0, spread, steps))
        stride = rng.uniform(3, 9)
        walk = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1) * stride, axis=0)
        points = np.rint((walk + rng.uniform(-0.1, 1.1, 2) * (width, height)) * 16).astype(np.int32)
        ends = thickest * rng.uniform(0.3, 1), thickest * rng.uniform(0.1, 1)
        for step, width_here in enumerate(np.linspace(*ends, steps - 1)):
            thickness = max(1, round(float(width_here)))
            first, second = (tuple(points[place].tolist()) for place in (step, step + 1))
            cv2.line(mask, first, second, 255, thickness, cv2.LINE_AA, shift=4)
    return mask


def _lattice(height: int, width: int, rng: np.random.Generator) -> Mask:
    """Fences, nets, wires: straight lines side by side, one way or two."""
    mask = np.zeros((height, width), np.uint8)
    reach = float(np.hypot(height, width))
    centre = np.array([width, height]) / 2
    for turn in rng.uniform(0, np.pi) + np.array([0, np.pi / 2])[: int(rng.integers(1, 3))]:
        along, across = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
        gap, thickness = rng.uniform(8, 40), int(rng.integers(1, 5))
        for shift in np.arange(-reach / 2 + rng.uniform(0, gap), reach / 2, gap):
            ends = [centre + shift * across + side * reach * along for side in (-1, 1)]
            first, second = (tuple(np.rint(end * 16).astype(int).tolist()) for end in ends)
            cv2.line(mask, first, second, 255, thickness, cv2.LINE_AA, shift=4)
    return mask


def _letters(height: int, width: int, rng: np.random.Generator) -> Mask:
    mask = np.zeros((height, width), np.uint8)
    signs = string.ascii_letters + string.digits + "&%?!#"
    for _ in range(int(rng.integers(1, 4))):
        text = "".join(rng.choice(list(signs), int(rng.integers(1, 6))))
        scale = float(np.exp(rng.uniform(np.log(0.7), np.log(4))))
        place = int(rng.integers(-10, width - 20)), int(rng.integers(15, height + 10))
        font = int(rng.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_SCRIPT_SIMPLEX]))
        cv2.putText(mask, text, place, font, scale, 255, int(rng.integers(1, 3 + round(3 * scale))), cv2.LINE_AA)
    return mask


def _leaves(height: int, width: int, rng: np.random.Generator) -> Mask:
    """Twigs with pointed leaves on both sides."""
    mask = np.zeros((height, width), np.uint8)
    half = np.linspace(0, 1, 12)
    for _ in range(int(rng.integers(1, 4))):
        long, slim = float(np.exp(rng.uniform(np.log(8), np.log(60)))), rng.uniform(0.12, 0.4)
        outline = (
            slim * np.sin(np.pi * half ** rng.uniform(0.6, 1.3)) * (1 + rng.uniform(0, 0.25) * (-1) ** np.arange(12))
        )
        leaf = np.concatenate([np.stack([half, outline], axis=1), np.stack([half, -outline], axis=1)[::-1]])
        place, heading = rng.uniform(-0.1, 1.1, 2) * (width, height), rng.uniform(0, 2 * np.pi)
        for step in range(int(rng.integers(3, 12))):
            heading += rng.normal(0, 0.15)
            following = place + long * rng.uniform(0.3, 0.6) * np.array([np.cos(heading), np.sin(heading)])
            _line(mask, place, following, max(1, round(0.06 * long)))
            angle = heading + (-1) ** step * rng.uniform(0.5, 1.2)
            turned = leaf @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
            points = place + rng.uniform(0.6, 1.1) * long * turned
            cv2.fillPoly(mask, [np.rint(points * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
            place = following
    return mask


def _figures(height: int, width: int, rng: np.random.Generator) -> Mask:
    """Bodies: a trunk, a head and limbs of two parts that taper, some with hair that stands off."""
    mask = np.zeros((height, width), np.uint8)
    for _ in range(int(rng.integers(1, 3))):
        size = float(np.exp(rng.uniform(np.log(20), np.log(90))))
        centre, up = rng.uniform(0.1, 0.9, 2) * (width, height), rng.normal(-np.pi / 2, 0.6)
        along = np.array([np.cos(up), np.sin(up)])
        broad = size * rng.uniform(0.15, 0.35)
        ends = centre + 0.4 * size * along, centre - 0.4 * size * along
        _limb(mask, *ends, broad * rng.uniform(0.8, 1.3), broad)
        for end in (*ends, *ends):
            joint = end + rng.normal(0, 0.15 * size, 2)
            wide = broad * rng.uniform(0.15, 0.45)
            for _part in range(2):
                following = joint + rng.normal(0, 0.3 * size, 2)
                _limb(mask, joint, following, wide, 0.7 * wide)
                joint, wide = following, 0.7 * wide
        head = ends[0] + 0.25 * size * along
        around = 0.13 * size * rng.uniform(0.8, 1.4)
        _limb(mask, head, head, around, around)
        if rng.random() < 0.5:
            for _hair in range(int(rng.integers(10, 60))):
                angle = rng.uniform(0, 2 * np.pi)
                root = head + around * np.array([np.cos(angle), np.sin(angle)])
                angle += rng.normal(0, 0.5)
                tip = root + around * rng.uniform(0.2, 1.5) * np.array([np.cos(angle), np.sin(angle)])
                _line(mask, root, tip, 1)
    return mask


def _line(mask: Mask, first: NDArray[np.float64], second: NDArray[np.float64], thickness: int) -> None:
    start, end = (np.rint(point * 16).astype(int).tolist() for point in (first, second))
    cv2.line(mask, start, end, 255, thickness, cv2.LINE_AA, shift=4)


def _limb(mask: Mask, first: NDArray[np.float64], second: NDArray[np.float64], wide: float, narrow: float) -> None:
    """Discs side by side, from half a width to another."""
    steps = 2 + int(2 * np.hypot(*(second - first)) / max(1.0, narrow))
    for share in np.linspace(0, 1, steps):
        centre = tuple(np.rint((first + share * (second - first)) * 16).astype(int).tolist())
        cv2.circle(mask, centre, round(16 * (wide + share * (narrow - wide))), 255, -1, cv2.LINE_AA, shift=4)


SHAPES: Sequence[Callable[[int, int, np.random.Generator], Mask]] = (
    _blobs,
    _outlines,
    _strands,
    _lattice,
    _letters,
    _leaves,
    _figures,
)
_OFTEN = np.array([2, 1.5, 1, 0.6, 0.7, 1.2, 2])
_OFTEN = _OFTEN / _OFTEN.sum()
