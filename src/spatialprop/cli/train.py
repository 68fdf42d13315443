"""`spatialprop train`: what `train.py` does."""

from collections.abc import Sequence


def run_words(words: Sequence[str]) -> int:
    """Train with these overrides; Hydra ends the process itself if something is wrong."""
    from spatialprop.experiment.overrides import run

    run("train", words)
    return 0
