"""What `train.py` and `evaluate.py` do: put an experiment together, run it, keep what came of it."""
