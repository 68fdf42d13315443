"""`spatialprop matte`: alpha of a photograph from a trimap or a rough mask."""

import argparse
from pathlib import Path

from spatialprop.cli.refine import check_at_least_one, usable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Exit code: 0 all is well, 2 an input cannot be used; then nothing is written."
    parser.add_argument("image", type=Path)
    parser.add_argument("trimap", type=Path, help="0 background, 128 unknown, 255 foreground; with --band a rough mask")
    parser.add_argument("-o", "--output", type=Path, help="by default <image>_alpha.png beside the trimap")
    parser.add_argument(
        "--cut-out", type=Path, metavar="FILE", help="write the foreground too, in its own colours, as RGBA"
    )
    parser.add_argument(
        "--band", type=int, metavar="PIXELS", help="the trimap is a rough mask: believe nothing so near its border"
    )
    parser.add_argument("--weights", default="matte", help="a name, or a .safetensors file")
    parser.add_argument("--most-pixels", type=int, default=1 << 28, metavar="N", help="refuse larger images")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ...")


def run(options: argparse.Namespace) -> int:
    check_at_least_one(options, "band", "most_pixels")
    from spatialprop.maskfiles import read_image, read_trimap, write_picture
    from spatialprop.values import Matte

    output = options.output or options.trimap.with_name(f"{options.image.stem}_alpha.png")
    check_outputs([output, *([options.cut_out] if options.cut_out else [])], [options.image, options.trimap])
    image = read_image(options.image, options.most_pixels)
    if options.band is None:
        given = read_trimap(options.trimap, options.most_pixels)
    else:
        given = read_image(options.trimap, options.most_pixels).max(axis=2)
        if given.shape != image.shape[:2]:
            raise ValueError(
                f"image and mask must have one size; got {image.shape[1]}x{image.shape[0]} and "
                f"{given.shape[1]}x{given.shape[0]} pixels"
            )
    matte = Matte.load(options.weights, device=usable(options.device))
    alpha = matte(image, given) if options.band is None else matte.from_mask(image, given, options.band)
    # The alpha is written last, so that it means a complete set of files.
    if options.cut_out:
        options.cut_out.parent.mkdir(parents=True, exist_ok=True)
        write_picture(options.cut_out, matte.cut_out(image, alpha))
    output.parent.mkdir(parents=True, exist_ok=True)
    write_picture(output, (alpha * 255).round().astype("uint8"))
    mixed = 100 * float(((alpha > 0.02) & (alpha < 0.98)).mean())
    print(f"{output}: {100 * float(alpha.mean()):.1f} % foreground, {mixed:.1f} % of the pixels are partly so")
    return 0


def check_outputs(outputs: list[Path], inputs: list[Path]) -> None:
    """Refuse, before anything is computed, places where no picture is written, and those of the inputs."""
    from spatialprop.maskfiles import check_picture

    taken = {path.resolve() for path in inputs}
    for path in outputs:
        check_picture(path)
        if path.resolve() in taken:
            raise ValueError(f"{path} would replace an input or another result; choose another place by -o")
        taken.add(path.resolve())
