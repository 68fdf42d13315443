"""`spatialprop warmup`: compile all kernels now, so that no later run has to wait for them."""

import argparse
import time
from importlib import import_module


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no options."""


def run(options: argparse.Namespace) -> int:
    ops = import_module("spatialprop.ops")  # not before: it takes a second
    start = time.perf_counter()
    ops.warmup()
    print(f"All kernels are compiled, after {time.perf_counter() - start:.0f} s.")
    return 0
