"""The command `spatialprop`; each of its sub-commands is a module beside this file, imported when it is called."""

import argparse
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from spatialprop import __version__
from spatialprop.cli.output import lenient_output

# A module has `add_arguments(parser)` and `run(options) -> exit code`.
COMMANDS = {
    "colorize": "colour a grey picture from some coloured strokes",
    "completion": "print what makes a shell complete spatialprop's commands, options and overrides",
    "dashboard": "make a wandb page for the runs of a project",
    "data": "get, check and prepare data sets",
    "evaluate": "score trained runs: spatialprop evaluate run=FOLDER [overrides]; more by --help",
    "explain": "show how much each pixel adds to the result at one pixel",
    "export": "make weights, or an archive for other programs, of a trained refinement",
    "matte": "find how much of each pixel belongs to the foreground, from a trimap or a rough mask",
    "refine": "refine the borders of a segmentation",
    "report": "draw the figures and the page of a run, or sum up a multirun",
    "serve": "open the page on which masks are painted, refined and explained",
    "train": "train, test and report an experiment: spatialprop train [overrides]; more by --help",
    "warmup": "compile all kernels now, so that no later run has to wait",
}
HYDRA = ("evaluate", "train")  # these have no module: Hydra reads the rest of the command line
MAY_BE_EMPTY = ("--description", "--line")  # whatever else is empty would stand for the current folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sub-command; wrong input gives one line on stderr and exit code 2.

    Args:
        arguments: The words after `spatialprop`; by default those of the command line.

    Returns:
        The exit code.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments[:1] and arguments[0] in HYDRA:
        try:
            with lenient_output():
                import_module("spatialprop.experiment.overrides").run(arguments[0], arguments[1:])
        except ModuleNotFoundError as error:
            print(f"spatialprop {arguments[0]}: {error}; pip install 'spatialprop[train]'", file=sys.stderr)
            return 2
        return 0  # otherwise Hydra has ended the process
    if "" in [word for before, word in zip(["", *arguments], arguments, strict=False) if before not in MAY_BE_EMPTY]:
        what = "a file, a folder or a pattern is called ''; is a variable of the shell empty? '.' is here"
        print(f"spatialprop {arguments[0]}: {what}", file=sys.stderr)
        return 2
    parser = make_parser(arguments)
    options, late = parser.parse_known_args(arguments)
    if late:  # argparse takes no more key=value once an option has followed the first of them
        if not hasattr(options, "settings") or not all(re.fullmatch(r"[^-=][^=]*=.*", word) for word in late):
            files = not any(word.startswith("-") for word in late) and all(Path(word).suffix for word in late)
            quoted = " (patterns need quotes: 'photos/*.jpg')" if files else ""
            parser.error(f"unrecognized arguments: {' '.join(late)}{quoted}")
        options.settings = [*options.settings, *late]
    with lenient_output():
        try:
            return int(options.run(options))
        except (ImportError, OSError, ValueError) as error:
            print(f"spatialprop {options.command}: {error}", file=sys.stderr)
            return 2


def make_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """A parser that knows all commands, and the options of the one that `arguments` begin with."""
    parser = argparse.ArgumentParser(prog="spatialprop", description="Learned spatial propagation for segmentation.")
    parser.add_argument("--version", action="version", version=f"spatialprop {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name in arguments[:1] and name not in HYDRA:
            module = import_module(f"spatialprop.cli.{name}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser
