"""The table of face parsing on HELEN."""

from collections.abc import Mapping
from typing import Any

from spatialprop.report.tables import Table, percent

TITLES = {"F": "HELEN, F-measure", "IoU": "HELEN, IoU"}
NOTE = (
    "In percent, over the whole set. Brows, eyes, mouth and overall take the labels that they merge for one; overall "
    "merges brows, eyes, nose and mouth, without skin and hair. The paper's Table 1 holds F-measures."
)


def helen_tables(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Table]:
    """F-measures and IoU of every method in the columns of the paper's Table 1; none where there are no such scores.

    Example:
        >>> print(helen_tables({"coarse": {"helen": {"F": {"skin": 0.9053, "hair": None}}}})["HELEN, F-measure"].text())
        | method |  skin | hair |
        |--------|------:|-----:|
        | coarse | 90.53 |    - |
    """
    tables = {}
    for kind, title in TITLES.items():
        rows = {method: found for method, scores in metrics.items() if (found := (scores.get("helen") or {}).get(kind))}
        if rows:
            heading = list(next(iter(rows.values())))
            cells = [
                [method, *(percent(found.get(name), digits=2) for name in heading)] for method, found in rows.items()
            ]
            tables[title] = Table(["method", *heading], cells)
    return tables
