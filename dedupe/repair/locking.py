"""Locks: one session works on a run, and what could not be locked is tried again."""

from __future__ import annotations

import random

from ..errors import LockNotAvailable, QueryFailed, RunInUse
from ..scan.owner import end_leftovers
from ..writer import Writer
from .telling import Telling


def lock_run(writer: Writer, run: str, name: str, telling: Telling) -> None:
    """Make sure that nobody else works on a run; ends what a killed client left behind.

    Raises RunInUse.
    """
    end_leftovers(writer, name, telling.say, lambda: telling.stopping)
    (mine,) = writer.row(
        "SELECT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended($1::text, 7))",
        [f"pgmend {run}"],
    )
    if not mine:
        raise RunInUse(
            f"another session works on the repair {run}",
            hint="Wait for it, or end it: it shows in pg_stat_activity as pgmend repair.",
            path=run,
        )


def jitter(tries: int) -> float:
    """Return the seconds to wait before a lock is tried again."""
    return random.uniform(0.05, 0.2) * 2.0 ** min(tries, 4)  # noqa: S311 - no secret


def may_pass(error: QueryFailed) -> bool:
    """Tell whether the same batch may do later what it could not now."""
    return isinstance(error, LockNotAvailable) or error.facts.get("sqlstate") in {
        "40P01", "40001", "57014",
    }
