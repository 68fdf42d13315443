"""Score a trained run, on its own data or on other: `python evaluate.py run=FOLDER`; see conf/evaluate.yaml."""

import sys

from spatialprop.cli.output import lenient_output
from spatialprop.experiment.overrides import run

if __name__ == "__main__":  # Hydra's tab completion looks for the words @hydra.main here.
    with lenient_output():
        run("evaluate", sys.argv[1:])
