"""`spatialprop data`: get, check and prepare data sets."""

import argparse
from importlib import import_module

# Each is a module <name> beside this file, with `add_arguments(parser)` and `run(options) -> exit code`.
COMMANDS = {
    "get": "print a data set's source and terms of use; download it if that takes no registration",
    "check": "read every file of a data set: list what is missing, broken or out of range, and count classes",
    "convert": "write a data set as a folder of images and labels, so that it is aligned and decoded once",
    "predict": "write a segmenter's coarse maps of a data set, so that training need not run the segmenter",
    "submit": "pack results on VOC's test images for its evaluation server",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="data_command", required=True, metavar="command")
    for name, summary in COMMANDS.items():
        module = import_module(f"spatialprop.cli.data.{name}")
        command = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run_data=module.run)


def run(options: argparse.Namespace) -> int:
    return int(options.run_data(options))
