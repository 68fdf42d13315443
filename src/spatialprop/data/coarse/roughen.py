"""Label maps made as rough as those that people have."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from spatialprop.data.coarse.simulate import bend

Labels = NDArray[np.uint8]  # (H, W)


class Roughen:
    """Make label maps rough at random, in ways in which drawn, tracked, shrunk and predicted masks are.

    Borders wander, are blocky, are polygons of few clicks, are rounded or ragged; regions are grown, shrunk, bitten
    off, bumpy or have holes; thin parts and small regions are missing; the whole map is moved as that of another frame
    would be. One to three of these at a time, from hardly visible to what barely shows the thing.

    Args:
        reach: By how many pixels a border is typically wrong at the most.

    Example:
        >>> labels = np.zeros((64, 64), np.uint8)
        >>> labels[16:48, 16:48] = 3
        >>> rough = Roughen()(labels, np.random.default_rng(0))
        >>> rough.shape, np.unique(rough).tolist()
        ((64, 64), [0, 3])
    """

    def __init__(self, reach: float = 12.0) -> None:
        self.reach = reach

    def __call__(self, labels: Labels, rng: np.random.Generator, severity: float | None = None) -> Labels:
        """A rough version of `labels` (H, W), which hold no void.

        Args:
            labels: The truth.
            rng: Where chance comes from.
            severity: From 0 to 1; by chance if not given, rather small than large.
        """
        if severity is None:
            severity = float(rng.random() ** 1.3)
        reach = max(1.0, self.reach * severity)
        rough = labels
        for _ in range(int(rng.choice([1, 2, 3], p=[0.55, 0.3, 0.15]))):
            way = WAYS[int(rng.choice(len(WAYS), p=_OFTEN))]
            made = way(rough, reach, rng)
            if len(np.unique(made)) > 1 or len(np.unique(labels)) == 1:  # what shows nothing cannot be mended
                rough = made
        return rough


def filled(labels: Labels, unknown: NDArray[np.bool_]) -> Labels:
    """`labels` with each unknown pixel given the label of the nearest known one."""
    if not unknown.any() or unknown.all():
        return labels
    _, nearest = cv2.distanceTransformWithLabels(
        unknown.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    known = ~unknown
    of_source = np.zeros(int(nearest.max()) + 1, np.uint8)
    of_source[nearest[known]] = labels[known]
    return np.asarray(of_source[nearest], np.uint8)


def _wander(labels: Labels, reach: float, rng: np.random.Generator) -> Labels:
    period = reach * rng.uniform(1, 4) + 3
    down, across = (max(2, round(side / period) + 1) for side in labels.shape)
    return bend(labels, 0.5 * reach * rng.uniform(0.3, 1), (down, across), rng)


def _ragged(labels: Labels, reach: float, rng: np.random.Generator) -> Labels:
    period = rng.uniform(1.5, 4)
    down, across = (max(2, round(side / period)) for side in labels.shape)
    return bend(labels, min(3.0, 0.4 * reach) * rng.uniform(0.3, 1), (down, across), rng)


def _blocks(labels: Labels, reach: float, rng: np.random.Generator) -> Labels:
    """Sampled down, by nearest or by majority, and enlarged, by nearest or smoothly."""
    side = float(np.exp(rng.uniform(np.log(2), np.log(max(4.0, 2.6 * reach)))))
    if rng.random() < 0.6:
        side = float(2 ** round(np.log2(side)))
    offset = rng.integers(0, max(1, int(side)), 2)  # cells begin anywhere
    framed = np.pad(labels, ((offset[0], 0), (offset[1], 0)), mode="edge")
    cells = (max(1, round(framed.shape[1] / side)), max(1, round(framed.shape[0] / side)))
    size = framed.shape[::-1]
    smooth = rng.random() < 0.35
    if rng.random() < 0.5 and not smooth:
        small = cv2.resize(framed, cells, interpolation=cv2.INTER_NEAREST_EXACT)
        large = cv2.resize(small, size, interpolation=cv2.INTER_NEAREST_EXACT)
    else:

        def shares(one: NDArray[np.float32]) -> NDArray[np.float32]:
            small = cv2.resize(one, cells, interpolation=cv2.INTER_AREA)
            way = cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST_EXACT
            return np.asarray(cv2.resize(small, size, interpolation=way), np.float32)

        large = _strongest(framed, shares)
    return np.asarray(large[offset[0] :, offset[1] :], np.uint8)


def _polygons(labels: Labels, reach: float, rng: np.random.Generator) -> Labels:
    """Outlines of few clicks; what is smaller than a click is missing."""
    tolerance = reach * rng.uniform(0.15, 0.8)
    present, areas = np.unique(labels, return_counts=True)
    order = present[np.argsort(-areas)]
    drawn = np.full_like(labels, order[0])
    for label in order[1:].tolist():
        outlines, _ = cv2.findContours((labels == label).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        simple = [cv2.approxPolyDP(outline, tolerance, closed=True) for outline in outlines]
        simple = [outline for outline in simple if len(outline) > 2 and cv2.contourArea(outline) > tolerance**2 / 2]
        if simple:
            cv2.fillPoly(drawn, simple, label)
    return drawn


def _grow(labels: Labels, reach: float, rng: np.random.Generator) -> Labels:
    label = rng.choice(np.unique(labels))
    grown = cv2.dilate((labels == label).astype(np.uint8), _disc(0.6 * reach * rng.uniform(0.3, 1)))
    return np.where(grown > 0, label, labels).astype(np.uint8)


def _shrink(labels: Labels, reach: float, rng: np.random.Generator) -> Labels:
    mask = labels == rng.choice(np.unique(labels))
    kept = cv2.erode(mask.astype(np.uint8), _disc(0.6 * reach * rng.uniform(0.3, 1))) > 0
    return _nearest_other(labels, mask, kept)


def _thin(labels: Labels, reach: float, rng: np.random.Generator) -> Labels:
    """What is thin is missing, of one label or of all but the largest."""
    present, areas = np.unique(labels, return_counts=True)
    chosen = [rng.choice(present)] if rng.random() < 0.5 else present[np.argsort(-areas)][1:]
    disc = _disc(0.5 * reach * rng.uniform(0.3, 1) + 1)
    unknown = np.zeros(labels.shape, np.bool_)
    for label in chosen:
        mask = (labels == label).astype(np.uint8)
        unknown |= (mask > 0) & (cv2.morphologyEx(mask, cv2.MORPH_OPEN, disc) == 0)
    return filled(labels, unknown)


def _rounded(labels: Labels, reach: float, rng: np.random.Generator) -> Labels:
    deviation = 0.5 * reach * rng.uniform(0.3, 1) + 0.5

    def blurred(one: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.GaussianBlur(one, (0, 0), deviation, borderType=cv2.BORDER_REPLICATE), np.float32)

    return _strongest(labels, blurred)


def _bites_and_bumps(labels: Labels, reach: float, rng: np.random.Generator) -> Labels:
    """Around some pixels of borders one of the labels there takes all."""
    borders = np.flatnonzero(cv2.dilate(labels, np.ones((3, 3), np.uint8)) != labels)
    if not len(borders):
        return labels
    made = labels.copy()
    width = labels.shape[1]
    for place in rng.choice(borders, int(rng.integers(1, 6))).tolist():
        row, column = divmod(place, width)
        near = labels[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
        axes = [max(1, round(reach * rng.uniform(0.4, 1.6))) for _ in range(2)]
        cv2.ellipse(made, (column, row), axes, rng.uniform(0, 180), 0, 360, int(rng.choice(near.ravel())), -1)
    return made


def _spots(labels: Labels, reach: float, rng: np.random.Generator) -> Labels:
    """Holes and islands, anywhere, of labels that occur."""
    made = labels.copy()
    present = np.unique(labels)
    height, width = labels.shape
    for _ in range(int(rng.integers(1, 5))):
        centre = int(rng.integers(width)), int(rng.integers(height))
        axes = [max(1, round(reach * rng.uniform(0.2, 0.9))) for _ in range(2)]
        cv2.ellipse(made, centre, axes, rng.uniform(0, 180), 0, 360, int(rng.choice(present)), -1)
    return made


def _moved(labels: Labels, reach: float, rng: np.random.Generator) -> Labels:
    """As another frame would have it: shifted, turned and scaled a little."""
    height, width = labels.shape
    turn, scale = rng.normal(0, 0.004 * reach), np.exp(rng.normal(0, 0.004 * reach))
    matrix = np.array(cv2.getRotationMatrix2D((width / 2, height / 2), float(np.degrees(turn)), float(scale)))
    matrix = matrix + np.pad(rng.normal(0, 0.4 * reach, (2, 1)), ((0, 0), (2, 0)))
    moved = cv2.warpAffine(labels, matrix, (width, height), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


WAYS: Sequence[Callable[[Labels, float, np.random.Generator], Labels]] = (
    _wander,
    _ragged,
    _blocks,
    _polygons,
    _grow,
    _shrink,
    _thin,
    _rounded,
    _bites_and_bumps,
    _spots,
    _moved,
)
_OFTEN = np.array([2, 0.7, 3, 2, 1.2, 1.2, 1, 1.2, 1, 0.6, 1.2])
_OFTEN = _OFTEN / _OFTEN.sum()


def _strongest(labels: Labels, shares: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Labels:
    """The label whose share is the largest, given what makes shares of a mask."""
    present = np.unique(labels)
    maps = np.stack([shares((labels == label).astype(np.float32)) for label in present])
    return np.asarray(present[maps.argmax(axis=0)], np.uint8)


def _nearest_other(labels: Labels, mask: NDArray[np.bool_], kept: NDArray[np.bool_]) -> Labels:
    """Where `mask` is not kept, the nearest label outside of it."""
    return np.where(mask & ~kept, filled(labels, mask), labels).astype(np.uint8)


def _disc(radius: float) -> NDArray[np.uint8]:
    side = 2 * max(1, round(radius)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)
