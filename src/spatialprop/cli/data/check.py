"""`spatialprop data check`: statistics of a data set, and all problems with its files."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spatialprop.data import Examples, LabelSet, Splits
    from spatialprop.data.tools import SplitReport

EXAMPLES = """examples:
  spatialprop data check folder root=DIR
  spatialprop data check voc root=DIR train_split=trainaug coarse=COARSE
Exit code 1 if anything is broken."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="a config of conf/data, such as folder or voc")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings of that config, such as root=DIR")
    parser.add_argument(
        "--sheet", type=Path, metavar="PNG", help="a picture of some examples; data_<name>.png if left out"
    )
    parser.add_argument("--examples", type=int, default=3, metavar="N", help="examples of each split in the picture")
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="threads that read files")


def run(options: argparse.Namespace) -> int:
    from spatialprop.cli.data.config import compose_config, data_overrides, open_splits
    from spatialprop.cli.data.sheet import write_sheet
    from spatialprop.data.sets import tolerate_missing

    if options.examples < 1 or options.workers < 1:
        raise ValueError(f"--examples and --workers must be at least 1; got {options.examples}, {options.workers}")
    config = compose_config(data_overrides(options.name, options.settings))
    with tolerate_missing():
        splits = open_splits(config)
    parts = splits.distinct
    reports = {name: _inspect(name, examples, options.workers) for name, examples in parts.items()}

    print(_splits_table(reports))
    print(f"\n{_classes_table(reports, splits.labels)}")
    for line in _remarks(reports, splits):
        print(line)
    sheet = write_sheet(options.sheet or Path(f"data_{options.name}.png"), parts, options.examples)
    print(f"\nExamples: {sheet}" if sheet is not None else "\nNo picture: there is no image that can be read.")
    problems = [f"{name}: {problem}" for name, report in reports.items() for problem in report.problems]
    if problems:
        print(f"\n{len(problems)} problem{'s' if len(problems) > 1 else ''}:", *problems, sep="\n")
    else:
        print("\nNo problems.")
    return 1 if problems else 0


def _inspect(name: str, examples: Examples, workers: int) -> SplitReport:
    from tqdm import tqdm

    from spatialprop.data.tools import SplitReport, inspect_split

    report = SplitReport()
    for report in tqdm(inspect_split(examples, workers), total=len(examples), desc=name, unit="image"):  # noqa: B007
        pass
    return report


def _splits_table(reports: Mapping[str, SplitReport]) -> str:
    from spatialprop.report import Table, percent

    rows = [
        [
            name,
            str(report.images),
            _sizes(report),
            percent(report.void_share),
            str(report.with_coarse),
            str(len(report.problems)),
        ]
        for name, report in reports.items()
    ]
    return Table(["split", "images", "width x height", "void, %", "coarse maps", "problems"], rows).text()


def _sizes(report: SplitReport) -> str:
    if not report.sizes:
        return "-"
    if len(report.sizes) == 1:
        ((height, width),) = report.sizes
        return f"{width}x{height}"
    heights, widths = zip(*report.sizes, strict=True)
    return f"{min(widths)}..{max(widths)} x {min(heights)}..{max(heights)}"


def _classes_table(reports: Mapping[str, SplitReport], labels: LabelSet) -> str:
    """The share of each class in the pixels that count, and the number of images that hold it."""
    from spatialprop.report import Table

    heading = ["class"]
    for name in reports:
        heading += [f"{name}, % of pixels", "in images"]
    rows = []
    for index, title in enumerate(labels.classes):
        row = [f"{index} {title}"]
        for report in reports.values():
            row += [f"{100 * report.class_share(index):.2f}", str(report.images_with[index])]
        rows.append(row)
    return Table(heading, rows).text()


def _remarks(reports: Mapping[str, SplitReport], splits: Splits) -> list[str]:
    """Remarks on facts that are no problems."""
    lines = []
    if "test" not in splits.distinct:
        lines.append("test is the same as val.")
    for name, report in reports.items():
        absent = [title for index, title in enumerate(splits.labels.classes) if report.images_with[index] == 0]
        if absent and report.pixels[:255].any():
            lines.append(f"{name} holds nothing of: {', '.join(absent)}.")
        if report.sizes and not report.pixels[:255].any():
            lines.append(f"{name} has no labels: nothing can be scored on it.")
        if 0 < report.with_coarse < report.images:
            lines.append(f"{name}: {report.images - report.with_coarse} images have no coarse map.")
    return lines
