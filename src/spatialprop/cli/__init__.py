"""The command `spatialprop`; each of its sub-commands is a module beside this file, imported when it is called."""

import argparse
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

# A module has `add_arguments(parser)` and `run(options) -> exit code`.
COMMANDS = {
    "data": "get, check and prepare data sets",
    "dashboard": "make a wandb page for the runs of a project",
    "explain": "show which pixels one pixel listens to",
    "export": "make weights, or an archive for other programs, of a trained refinement",
    "refine": "refine the borders of a segmentation",
    "report": "draw the figures and the page of a run, or sum up a multirun",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sub-command; what is wrong with its input is said in one line, with exit code 2.

    Args:
        arguments: The words after `spatialprop`; by default those of the command line.

    Returns:
        The exit code.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog="spatialprop", description="Learned spatial propagation for segmentation.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name in arguments[:1]:
            module = import_module(f"spatialprop.cli.{name}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    options, late = parser.parse_known_args(arguments)
    if late:  # argparse takes no more key=value once an option has followed the first of them
        if not hasattr(options, "settings") or not all(re.fullmatch(r"[^-=][^=]*=.*", word) for word in late):
            files = not any(word.startswith("-") for word in late) and all(Path(word).suffix for word in late)
            quoted = " (patterns need quotes: 'photos/*.jpg')" if files else ""
            parser.error(f"unrecognized arguments: {' '.join(late)}{quoted}")
        options.settings = [*options.settings, *late]
    try:
        return int(options.run(options))
    except (ImportError, OSError, ValueError) as error:
        print(f"spatialprop {options.command}: {error}", file=sys.stderr)
        return 2
