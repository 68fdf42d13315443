"""`spatialprop completion`: tab completion for bash, zsh and fish, without a further package.

The shells ask `spatialprop completion --line "..."` for candidates. Overrides of train and evaluate are completed by
Hydra, which knows the configs; the rest follows from the parsers.
"""

import argparse
import io
import os
from contextlib import redirect_stdout

SCRIPTS = {
    "bash": """\
_spatialprop() {
    local IFS=$'\\n' line="${COMP_LINE:0:COMP_POINT}"
    local word="${line##* }"
    local kept="${word%"${word##*[=:]}"}"  # bash splits words at = and :, and replaces the last part only
    COMPREPLY=($(spatialprop completion --line "$line" 2>/dev/null))
    COMPREPLY=("${COMPREPLY[@]#"$kept"}")
}
complete -o default -o nospace -F _spatialprop spatialprop""",
    "zsh": """\
_spatialprop() {
    local -a found
    found=("${(@f)$(spatialprop completion --line "$LBUFFER" 2>/dev/null)}")
    if [[ -n "$found" ]]; then compadd -S '' -a found; else _files; fi
}
compdef _spatialprop spatialprop""",
    "fish": "complete -c spatialprop -a '(spatialprop completion --line (commandline -cp) 2>/dev/null)'",
}
INSTALL = """to use it, in ~/.bashrc:              eval "$(spatialprop completion bash)"
           in ~/.zshrc, after compinit: eval "$(spatialprop completion zsh)"
           in ~/.config/fish/config.fish: spatialprop completion fish | source"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog, parser.formatter_class = INSTALL, argparse.RawDescriptionHelpFormatter
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("shell", nargs="?", choices=SCRIPTS, help="print the script for this shell")
    asked.add_argument("--line", help="print the candidates for the last word of a command line")


def run(options: argparse.Namespace) -> int:
    print(SCRIPTS[options.shell] if options.line is None else "\n".join(candidates(options.line)))
    return 0


def candidates(line: str) -> list[str]:
    """The words that could take the place of the last one; files are left to the shell.

    Example:
        >>> candidates("spatialprop ref")
        ['refine']
        >>> candidates("spatialprop completion z")
        ['zsh']
    """
    from spatialprop.cli import HYDRA, make_parser

    *before, word = line.split(" ")[1:] or [""]
    before = [other for other in before if other]
    if before and before[0] in HYDRA:
        return [found for found in _overrides(before[0], [*before[1:], word]) if found.startswith(word)]
    parser = make_parser(before)
    found: list[str] = []
    for other in [*before, None]:
        commands = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        if other is not None and commands and other in commands[0].choices:
            parser = commands[0].choices[other]
    for action in parser._actions:
        if before[-1:] and before[-1] in action.option_strings and action.nargs != 0:
            return [str(choice) for choice in action.choices or () if str(choice).startswith(word)]
        found += [] if action.option_strings else map(str, action.choices or ())
        found += action.option_strings if word.startswith("-") else []
    return sorted(name for name in found if name.startswith(word))


def _overrides(command: str, words: list[str]) -> list[str]:
    """Hydra's candidates: it reads the command line from the environment and prints them."""
    from spatialprop.experiment.overrides import run

    os.environ["COMP_LINE"] = " ".join([f"{command}.py", *words])
    printed = io.StringIO()
    with redirect_stdout(printed):
        run(command, ["-sc", "query=bash"])
    return printed.getvalue().split()
