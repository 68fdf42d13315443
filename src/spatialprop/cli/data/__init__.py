"""`spatialprop data`: get, check and prepare data sets."""

import argparse
from importlib import import_module

# Each is a module <name> beside this file, with `add_arguments(parser)` and `run(options) -> exit code`.
COMMANDS = {
    "get": "say where a data set comes from and on which terms; download what anybody may",
    "check": "look at every file of a data set: what is missing, broken or out of range, and how often classes occur",
    "convert": "write a data set as a folder of images and labels, so that aligning and decoding is done once",
    "predict": "write a segmenter's coarse maps for a data set, so that training need not run the segmenter",
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
