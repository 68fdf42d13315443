"""`spatialprop colorize`: colours for a grey picture from some coloured strokes."""

import argparse
from pathlib import Path

from spatialprop.cli.matte import check_outputs
from spatialprop.cli.refine import check_at_least_one, usable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Exit code: 0 all is well, 2 an input cannot be used; then nothing is written."
    parser.add_argument("grey", type=Path, help="the picture; of a coloured one its brightness is taken")
    parser.add_argument(
        "scribbles", type=Path, help="a copy of the grey picture with coloured strokes, or strokes on a clear layer"
    )
    parser.add_argument("-o", "--output", type=Path, help="by default <grey>_coloured.png beside the scribbles")
    parser.add_argument("--weights", default="colour", help="a name, or a .safetensors file")
    parser.add_argument("--most-pixels", type=int, default=1 << 28, metavar="N", help="refuse larger images")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ...")


def run(options: argparse.Namespace) -> int:
    check_at_least_one(options, "most_pixels")
    from spatialprop.maskfiles import read_image, write_picture
    from spatialprop.values import Colorize, read_scribbles, scribbled
    from spatialprop.yuv import split_colours

    output = options.output or options.scribbles.with_name(f"{options.grey.stem}_coloured.png")
    check_outputs([output], [options.grey, options.scribbles])
    grey = read_image(options.grey, options.most_pixels)
    scribbles = read_scribbles(options.scribbles, options.most_pixels)
    brightness = split_colours(grey)[0]
    colours, where = scribbled((brightness * 255).round().astype("uint8"), scribbles)
    colorize = Colorize.load(options.weights, device=usable(options.device))
    coloured = colorize.spread(brightness, split_colours(colours)[1], where)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_picture(output, coloured)
    print(f"{output}: coloured from {int(where.sum())} pixels, {100 * float(where.mean()):.2f} % of the picture")
    return 0
