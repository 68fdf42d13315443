"""`spatialprop evaluate`: what `evaluate.py` does."""

from collections.abc import Sequence


def run_words(words: Sequence[str]) -> int:
    """Evaluate with these overrides; Hydra ends the process itself if something is wrong."""
    from spatialprop.experiment.overrides import run

    run("evaluate", words)
    return 0
