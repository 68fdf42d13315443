"""`spatialprop report`: figures and a page from a run's folder, a table over seeds from a multirun's."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="folder of a run (outputs/latest) or of a multirun")


def run(options: argparse.Namespace) -> int:
    from spatialprop.report.run import is_run
    from spatialprop.report.sweep import is_multirun

    folder: Path = options.folder
    if not is_run(folder) and is_multirun(folder):
        _report_multirun(folder)
    else:
        _report_run(folder)
    return 0


def _report_run(folder: Path) -> None:
    from spatialprop.report.page import write_report
    from spatialprop.report.run import read_metrics
    from spatialprop.report.tables import comparison_table

    page = write_report(folder)
    metrics = read_metrics(folder)
    print(comparison_table(metrics) if metrics else "No scores yet: there is no metrics.json.")
    print(page)


def _report_multirun(folder: Path) -> None:
    from spatialprop.report.sweep import summarise
    from spatialprop.report.sweep_page import write_summary

    summary = summarise(folder)
    page = write_summary(summary)
    if summary.settings:
        print(summary.table().text())
    if summary.failed:
        print(f"\nWithout a result:\n{summary.failures().text()}")
    print(page)
