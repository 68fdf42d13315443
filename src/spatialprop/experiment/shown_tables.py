"""Tables of scores at the end of a command."""

import logging
import sys
from collections.abc import Mapping

from spatialprop.report import Table

log = logging.getLogger(__name__)


def show_tables(tables: Mapping[str, Table]) -> None:
    """Draw tables on a terminal; elsewhere log them, so that the log of a job holds them as text."""
    for title, table in tables.items():
        if sys.stdout.isatty():
            print(f"\n{title}\n{table.for_console()}", flush=True)
        else:
            log.info("\n%s\n%s", title, table.text())
