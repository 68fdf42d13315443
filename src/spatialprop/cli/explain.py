"""`spatialprop explain`: draw the pixels that one pixel depends on."""

import argparse
from pathlib import Path

from spatialprop.cli.refine import add_reading, check_at_least_one, usable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", type=Path)
    parser.add_argument("coarse", type=Path, nargs="?", help="the map to refine; without it all directions count alike")
    parser.add_argument("--pixel", required=True, metavar="ROW,COLUMN", help="counted from the top left, from 0")
    parser.add_argument("-o", "--output", type=Path, help="by default <image>_explained.png in this folder")
    add_reading(parser)


def run(options: argparse.Namespace) -> int:
    pixel = _pixel(options.pixel)
    check_at_least_one(options, "most_pixels")
    from spatialprop.maskfiles import check_picture, read_coarse, read_image, read_palette, write_picture
    from spatialprop.refiner import Refiner, explain

    output = options.output or Path(f"{options.image.stem}_explained.png")
    check_picture(output)
    inputs = (options.image, options.coarse, options.palette)
    if output.resolve() in (path.resolve() for path in inputs if path is not None):
        raise ValueError(f"{output} would replace an input; choose another place by --output")
    palette = None if options.palette is None else read_palette(options.palette)
    image = read_image(options.image, options.most_pixels)
    coarse = None
    if options.coarse is not None:
        coarse = read_coarse(options.coarse, options.kind, palette, options.most_pixels).values
    refiner = Refiner.load(options.weights, device=usable(options.device))
    picture = explain(refiner, image, coarse, pixel)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_picture(output, picture)
    print(output)
    return 0


def _pixel(text: str) -> tuple[int, int]:
    try:
        row, column = (int(word) for word in text.split(","))
    except ValueError:
        raise ValueError(f"--pixel must be ROW,COLUMN, such as 120,200; got {text!r}") from None
    return row, column
