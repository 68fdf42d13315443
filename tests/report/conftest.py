"""Figures of reports are drawn at a low resolution: a third of the pixels in each direction, a fifth of the time."""

import pytest

from spatialprop.report import canvas


@pytest.fixture(autouse=True)
def low_resolution(monkeypatch):
    monkeypatch.setattr(canvas, "_DPI", 50)
