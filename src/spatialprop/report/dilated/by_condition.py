"""When propagation helps: the images of a test, sorted by conditions that might decide it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import NamedTuple

from spatialprop.report.tables import MISSING, Table, percent

TITLE = "When propagation helps"
HEADING = ["images by", "third"]
COLUMNS = {
    "images": "images",
    "value": "mean",
    "net": "net",
    "hurt": "hurt",
    "mended": "corrected",
    "broken": "broken",
    "break_even": "break-even",
}
NOTE = (
    "In percent but for numbers of images. Images are sorted by each condition and cut into thirds; mean: of the "
    "condition. Coarse error: share of pixels that are wrong before; in small regions: share of these in connected "
    "regions of at most 1/1000 of the image; border pairs seen: of all pairs of different classes, how "
    "many have an affinity below 0.5. Net: mean share of pixels changed rightly less wrongly; hurt: images in which it "
    "is below zero. An image that is more wrong has more to gain at the same skill, so skill is given on its own: "
    "the share of the wrong pixels of these images that was corrected, and of the right ones that was broken. "
    "Break-even: the coarse error at which these two rates would correct and break equally many pixels."
)
_CONDITIONS = {
    "coarse error": ("wrong", "pixels"),
    "error in small regions": ("wrong_in_small_regions", "wrong"),
    "border pairs seen": ("border_pairs_seen", "border_pairs"),
}
_THIRDS = ("lowest", "middle", "highest")
Image = Mapping[str, int]


class Bin(NamedTuple):
    """Images that are alike in one condition.

    Args:
        condition: The condition that they were sorted by; "all images" for all of them.
        third: Which part of the sorted images they are.
        numbers: For each of `COLUMNS`, None where it is undefined.
    """

    condition: str
    third: str
    numbers: dict[str, float | None]


def when_it_helps(counts: Mapping[str, Sequence[int]]) -> list[Bin]:
    """All images, then thirds of them by each condition, from lists of counts as `ImageEffects` computes them."""
    columns = [[(name, count) for count in of_images] for name, of_images in counts.items()]
    images = [image for row in zip(*columns, strict=True) if (image := dict(row))["pixels"]]
    return list(_bins(images)) if images else []


def helps_table(counts: Mapping[str, Sequence[int]]) -> Table:
    """The bins of one test.

    Example:
        >>> print(helps_table({
        ...     "pixels": [100, 100], "wrong": [4, 20], "wrong_in_small_regions": [4, 10], "mended": [1, 10],
        ...     "broken": [3, 2], "border_pairs": [50, 0], "border_pairs_seen": [40, 0],
        ... }).text())
        | images by              | third  | images |  mean |   net | hurt | corrected | broken | break-even |
        |------------------------|--------|-------:|------:|------:|-----:|----------:|-------:|-----------:|
        | all images             | -      |      2 |     - | +3.00 |    1 |      45.8 |    2.8 |        5.8 |
        | coarse error           | lowest |      1 |   4.0 | -2.00 |    1 |      25.0 |    3.1 |       11.1 |
        | coarse error           | middle |      1 |  20.0 | +8.00 |    0 |      50.0 |    2.5 |        4.8 |
        | error in small regions | lowest |      1 |  50.0 | +8.00 |    0 |      50.0 |    2.5 |        4.8 |
        | error in small regions | middle |      1 | 100.0 | -2.00 |    1 |      25.0 |    3.1 |       11.1 |
        | border pairs seen      | lowest |      1 |  80.0 | -2.00 |    1 |      25.0 |    3.1 |       11.1 |
    """
    texts: dict[str, Callable[[object], str]] = dict.fromkeys(COLUMNS, percent)
    texts |= {"images": str, "hurt": str, "net": partial(percent, digits=2, sign="+")}
    rows = [
        [found.condition, found.third, *(text(found.numbers[key]) for key, text in texts.items())]
        for found in when_it_helps(counts)
    ]
    return Table([*HEADING, *COLUMNS.values()], rows, labels=2)


def _bins(images: Sequence[Image]) -> Iterator[Bin]:
    yield Bin("all images", MISSING, _numbers(images, None))
    for condition, (part, whole) in _CONDITIONS.items():
        known = [image for image in images if image[whole]]
        known.sort(key=lambda image: image[part] / image[whole])
        start = 0
        for place, third in enumerate(_THIRDS, 1):
            end = -(-len(known) * place // len(_THIRDS))
            if of_third := known[start:end]:
                yield Bin(condition, third, _numbers(of_third, (part, whole)))
            start = end


def _numbers(images: Sequence[Image], condition: tuple[str, str] | None) -> dict[str, float | None]:
    nets = [(image["mended"] - image["broken"]) / image["pixels"] for image in images]
    wrong = sum(image["wrong"] for image in images)
    right = sum(image["pixels"] for image in images) - wrong
    mended = sum(image["mended"] for image in images) / wrong if wrong else None
    broken = sum(image["broken"] for image in images) / right if right else None
    return {
        "images": len(images),
        "value": fmean(image[condition[0]] / image[condition[1]] for image in images) if condition else None,
        "net": fmean(nets),
        "hurt": sum(net < 0 for net in nets),
        "mended": mended,
        "broken": broken,
        "break_even": broken / (mended + broken)
        if mended is not None and broken is not None and mended + broken
        else None,
    }
