"""`spatialprop serve`: the page on this machine."""

import argparse
import sys

from spatialprop.cli.refine import check_at_least_one, usable

EXAMPLES = """examples:
  spatialprop serve                              open the page in the browser
  spatialprop serve --port 8000 --no-browser     at http://127.0.0.1:8000/, to be opened by hand
  spatialprop serve --weights mine.safetensors   with a refiner of your own"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog, parser.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    parser.add_argument("--port", type=int, default=0, metavar="N", help="by default a free one")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="where to listen (default: %(default)s, this machine alone); there is no password",
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open the page in the browser")
    parser.add_argument("--weights", default="light", help="a name, or a .safetensors file (default: %(default)s)")
    parser.add_argument("--matte-weights", default="matte", help="what finds alpha (default: %(default)s)")
    parser.add_argument("--colour-weights", default="colour", help="what colours pictures (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ... (default: %(default)s)")
    parser.add_argument(
        "--most-pixels", type=int, default=1 << 24, metavar="N", help="refuse larger photographs (default: %(default)s)"
    )


def run(options: argparse.Namespace) -> int:
    check_at_least_one(options, "most_pixels")
    if not 0 <= options.port <= 65535:
        raise ValueError(f"--port must be from 0 to 65535; got {options.port}")
    from spatialprop.demo import serve
    from spatialprop.demo.server import LOOPBACK
    from spatialprop.refiner import Refiner
    from spatialprop.values import Colorize, Matte

    device = usable(options.device)
    if options.host not in LOOPBACK:
        print(f"everybody who reaches {options.host} can use this page: it has no password", file=sys.stderr)
    serve(
        Refiner.load(options.weights, device=device),
        matte=Matte.load(options.matte_weights, device=device),
        colorize=Colorize.load(options.colour_weights, device=device),
        host=options.host,
        port=options.port,
        browser=not options.no_browser,
        most_pixels=options.most_pixels,
        started=lambda address: print(f"The page is at {address}   (Ctrl-C ends it)", flush=True),
    )
    return 0
