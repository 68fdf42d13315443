"""A multirun's numbers before they are text: rounded for `report.md`, in full for `report.json`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from spatialprop.report.sweep.results import MeanStd
from spatialprop.report.sweep.summary import Setting, Summary
from spatialprop.report.tables import MISSING, Table, is_number


class Column(NamedTuple):
    """The title of a column of numbers, and their format."""

    title: str
    text: Callable[[MeanStd], str] = MeanStd.text


class Row(NamedTuple):
    """The values of the jobs of a setting.

    Args:
        setting: The setting.
        labels: The labels that distinguish the row, one for each heading; if a number is among them, last.
        values: The value of each job for each column; None where a job has none.
    """

    setting: Setting
    labels: Sequence[str | int]
    values: Mapping[str, Sequence[float | None]]


@dataclass(frozen=True)
class Numbers:
    """A table of means and deviations over the jobs of settings.

    Args:
        headings: Over the labels of rows, beside those that tell the setting.
        columns: By the key that they have in `report.json`.
        rows: Row by row.
    """

    headings: Sequence[str]
    columns: Mapping[str, Column]
    rows: Sequence[Row]

    def table(self, summary: Summary) -> Table:
        """As text, a row for each row."""
        heading = [*summary.place_heading, *self.headings]
        rows = []
        for row in self.rows:
            means = self._means(row)
            texts = [column.text(found) if (found := means[key]) else MISSING for key, column in self.columns.items()]
            rows.append([*summary.places(row.setting), *map(str, row.labels), *texts])
        numbers = sum(isinstance(label, int) for row in self.rows[:1] for label in row.labels)
        titles = [column.title for column in self.columns.values()]
        return Table([*heading, *titles], rows, labels=len(heading) - numbers)

    def plain(self) -> list[dict[str, Any]]:
        """As plain numbers, a mapping for each row."""
        return [
            {
                "set": row.setting.data,
                "overrides": row.setting.overrides,
                **dict(zip(self.headings, row.labels, strict=True)),
                **{key: found and found.plain() | {"values": found.values} for key, found in self._means(row).items()},
            }
            for row in self.rows
        ]

    def _means(self, row: Row) -> dict[str, MeanStd | None]:
        known = {key: [value for value in row.values.get(key, ()) if is_number(value)] for key in self.columns}
        return {key: MeanStd(values) if values else None for key, values in known.items()}


signed = partial(MeanStd.text, sign="+")
unscaled = partial(MeanStd.text, scale=1)
