"""Train, test and report one experiment: `python train.py [overrides]`; see conf/train.yaml."""

import sys

from spatialprop.cli.output import lenient_output
from spatialprop.experiment.overrides import run

if __name__ == "__main__":  # Hydra's tab completion looks for the words @hydra.main here.
    with lenient_output():
        run("train", sys.argv[1:])
