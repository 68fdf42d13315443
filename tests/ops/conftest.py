"""Threads of the CPU backend for tests whose maps would not be worth them."""

import pytest
import torch

from spatialprop.ops.machine import threads


@pytest.fixture
def several_threads(monkeypatch):
    """Three threads, on a machine with a single core too, and however little there is to do."""
    monkeypatch.setattr(threads, "_WORTH_A_THREAD", 1)
    count = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(count)
