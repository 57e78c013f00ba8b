"""The settings of a scan: its jobs, its order, its memory. And the rows of the table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..floor import FLOOR
from ..ours import Scan
from ..table import Store, Table, statuses
from .scanned import Sweeper, shown

#: settings that everything else is measured with
USUAL = Scan(jobs=2, memory="64MB")
_JOBS = (1, 2, 4)
_MEMORY = ("16MB", "64MB", "256MB")


def by_rows(
    sweeper: Sweeper, store: Store, rows: tuple[int, ...], seed: int
) -> Iterator[dict[str, Any]]:
    """Yield a row for each size of the table."""
    for count in rows:
        with statuses(store, count, seed) as table:
            yield shown(sweeper.beside(table, USUAL, FLOOR, f"{count:,} rows"))


def by_jobs(sweeper: Sweeper, table: Table) -> Iterator[dict[str, Any]]:
    """Yield a row for each number of sessions."""
    for jobs in _JOBS:
        scan = Scan(jobs=jobs, memory=USUAL.memory)
        yield shown(sweeper.beside(table, scan, FLOOR, f"{jobs} jobs"), jobs=jobs)


def by_order(sweeper: Sweeper, table: Table) -> Iterator[dict[str, Any]]:
    """Yield a row for each order of reading."""
    for order in ("physical", "key"):
        scan = Scan(jobs=USUAL.jobs, memory=USUAL.memory, options=("--order", order))
        yield shown(sweeper.beside(table, scan, FLOOR, f"{order} order"), order=order)


def by_memory(sweeper: Sweeper, table: Table) -> Iterator[dict[str, Any]]:
    """Yield a row for each memory setting."""
    for memory in _MEMORY:
        scan = Scan(jobs=USUAL.jobs, memory=memory)
        yield shown(sweeper.beside(table, scan, FLOOR, f"{memory} of memory"), memory=memory)
