"""`spatialprop report`: figures and a page from a run's folder, a table over seeds from a multirun's."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="folder of a run (outputs/latest) or of a multirun")


def run(options: argparse.Namespace) -> int:
    from spatialprop.report import is_multirun, is_run, is_universal

    folder: Path = options.folder
    if is_universal(folder):
        _report_universal(folder)
    elif not is_run(folder) and is_multirun(folder):
        _report_multirun(folder)
    else:
        _report_run(folder)
    return 0


def _report_run(folder: Path) -> None:
    from spatialprop.report import affinity_tables, comparison_table, helen_tables, read_metrics, write_report

    page = write_report(folder)
    metrics = read_metrics(folder)
    print(comparison_table(metrics).for_console() if metrics else "No scores yet: there is no metrics.json.")
    for title, table in (helen_tables(metrics) | affinity_tables(metrics)).items():
        print(f"\n{title}\n{table.for_console()}")
    print(page)


def _report_universal(folder: Path) -> None:
    from spatialprop.report import read_universal, universal_tables, write_report, write_universal

    results = read_universal(folder)
    for source in results:
        write_report(folder / source)
    page = write_universal(folder, results)
    for title, table in universal_tables(results).items():
        print(f"{title}\n{table.for_console()}\n")
    print(page)


def _report_multirun(folder: Path) -> None:
    from spatialprop.report import summarise, sweep_tables, write_summary

    summary = summarise(folder)
    page = write_summary(summary)
    for title, (table, _) in sweep_tables(summary).items():
        print(f"{title}\n{table.for_console()}\n")
    if summary.failed:
        print(f"Without a result:\n{summary.failures().for_console()}")
    print(page)
