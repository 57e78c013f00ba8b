"""Whether there is a way back: a receipt of a fresh, proved snapshot of this cluster."""

from __future__ import annotations

from collections.abc import Iterator

from dedupe.connect import connect
from dedupe.errors import SnapshotRequired
from dedupe.session import OLDEST_SERVER

from ..snapshots.gate import required
from .rule import Look, Rule, Said


def look(at: Look) -> Iterator[Said]:
    """Ask the gate that ``pgmend guard require`` asks."""
    guard = at.asked.guard
    if guard is None:
        yield at.unseen(
            "receipts",
            "where receipts of snapshots are kept was not said: --receipts DIR, or guard.receipts"
            " in the settings file",
        )
        return
    if at.catalog.major < OLDEST_SERVER:
        yield at.unseen(
            "receipts", f"snapshots of PostgreSQL {at.catalog.major} are not taken by pgmend"
        )
        return
    try:
        required(guard, connect(at.catalog.conninfo), at.asked.demand)
    except SnapshotRequired as error:
        yield at.warning("receipts", error.message, error.hint or "pgmend guard take")


RULE = Rule(name="snapshot", scope="cluster", look=look)
