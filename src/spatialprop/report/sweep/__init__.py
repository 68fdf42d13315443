"""The jobs of a multirun as one table: means and deviations over seeds, setting by setting and set by set."""

from spatialprop.report.sweep.page import sweep_tables, write_summary
from spatialprop.report.sweep.summary import is_multirun, summarise

__all__ = ["is_multirun", "summarise", "sweep_tables", "write_summary"]
