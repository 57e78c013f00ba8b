"""The share of rows that have a twin: none, some, many, all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ..floor import FLOOR
from ..table import DUPLICATES, Store, one_group, statuses
from .scanned import Sweeper, shown
from .settings import USUAL

_SHARES = ((0.0, "0"), (DUPLICATES, "0.1 %"), (0.1, "10 %"))


def by_share(
    sweeper: Sweeper, store: Store, rows: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Yield a row for each share; the last table is one single group."""
    for share, label in _SHARES:
        with statuses(store, rows, seed, share) as table:
            scanned = sweeper.beside(table, USUAL, FLOOR, f"{label} duplicates")
        yield shown(scanned, share=share, label=label)
    # Minutes long, and as steady as that: once is enough.
    once = replace(sweeper, rounds=1)
    with one_group(store, rows) as table:
        scanned = once.beside(table, USUAL, FLOOR, "all rows one group")
    yield shown(scanned, share=1.0, label="one group")
