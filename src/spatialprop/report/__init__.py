"""Tables, figures and pages of a run or a multirun, rebuilt at any time from its folder."""

from spatialprop.report.checking import read_arrays
from spatialprop.report.dilated import affinity_tables
from spatialprop.report.helen import helen_tables
from spatialprop.report.run import ORIGIN, is_run, read_curves, read_kinds, read_metrics, read_run
from spatialprop.report.run_page import write_report
from spatialprop.report.sweep import is_multirun, summarise, sweep_tables, write_summary
from spatialprop.report.tables import VALUES, Table, comparison_table, percent, trimap
from spatialprop.report.universal import is_universal, read_universal, universal_tables, write_universal

__all__ = [
    "ORIGIN",
    "VALUES",
    "Table",
    "affinity_tables",
    "comparison_table",
    "helen_tables",
    "is_multirun",
    "is_run",
    "is_universal",
    "percent",
    "read_arrays",
    "read_curves",
    "read_kinds",
    "read_metrics",
    "read_run",
    "read_universal",
    "summarise",
    "sweep_tables",
    "trimap",
    "universal_tables",
    "write_report",
    "write_summary",
    "write_universal",
]
