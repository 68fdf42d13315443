"""Tab completion as the shell does it."""

import shutil
import subprocess
import sys

import pytest

from spatialprop.cli import main
from spatialprop.cli.completion import SCRIPTS, candidates


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("spatialprop tr", ["train"]),
        ("spatialprop --ver", ["--version"]),
        ("spatialprop data pre", ["predict"]),
        ("spatialprop data predict data=voc --splits v", ["val"]),
        ("spatialprop refine --no", ["--no-restrict"]),
        ("spatialprop refine photo", []),
        ("spatialprop train propagation=t", ["propagation=three_way"]),
        ("spatialprop train seed=1 experiment=synthetic_u", ["experiment=synthetic_unet"]),
        ("spatialprop evaluate trainer.max_e", ["trainer.max_epochs="]),
    ],
)
def test_candidates_begin_with_the_last_word(line, found, monkeypatch):
    monkeypatch.setenv("COMP_LINE", "")  # which is set on the way
    assert candidates(line) == found


@pytest.mark.parametrize("shell", SCRIPTS)
def test_scripts_ask_for_candidates(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "spatialprop completion --line" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
@pytest.mark.parametrize(("typed", "expected"), [("rep", "report"), ("train data=sy", "synthetic")])
def test_bash_replaces_what_it_takes_for_a_word(typed, expected):
    """After "data=sy" that is what stands behind the equals sign."""
    line = f"spatialprop {typed}"
    command = f'spatialprop() {{ "{sys.executable}" -m spatialprop "$@"; }}'
    program = (
        f'{command}\n{SCRIPTS["bash"]}\nCOMP_LINE="{line}" COMP_POINT={len(line)}\n_spatialprop\necho "$COMPREPLY"'
    )
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected
