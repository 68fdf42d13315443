"""What train and evaluate print last."""

import logging

import pytest

from spatialprop.experiment.shown_tables import show_tables
from spatialprop.report import comparison_table

TABLES = {"Scores": comparison_table({"coarse": {"mIoU": 0.7}, "refined": {"mIoU": 0.8}})}


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_gets_a_drawing_and_a_log_gets_text(terminal, monkeypatch, capsys, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    show_tables(TABLES)
    drawn, logged = capsys.readouterr().out, caplog.text
    assert ("│" in drawn, "Scores" in drawn) == (terminal, terminal)
    assert ("| refined | 80.0 |" in logged) == (not terminal)
