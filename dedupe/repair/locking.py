"""Locks: one session works on a run, and what could not be locked is tried again."""

from __future__ import annotations

import random
import time

from ..errors import FailureError, LockNotAvailable, RunInUse
from ..writer import Writer
from .telling import Telling

#: seconds that the server is given to notice that a client was killed
_LEFTOVER_SECONDS = 8.0
#: tries after which a lock is taken to be held for long
_LOCK_TRIES = 8


def lock_run(writer: Writer, run: str, telling: Telling) -> None:
    """Make sure that nobody else works on a run, as long as the session lives.

    What a killed client left behind ends by itself once the server notices; it is waited
    for. Who owns the run's directory ends it sooner (``end_leftovers``). Raises RunInUse.
    """
    end = time.monotonic() + _LEFTOVER_SECONDS
    while True:
        (mine,) = writer.row(
            "SELECT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended($1::text, 7))",
            [f"pgmend {run}"],
        )
        if mine:
            return
        if time.monotonic() > end:
            raise RunInUse(
                f"another session works on the repair {run}",
                hint="Wait for it, or end it: it shows in pg_stat_activity as pgmend repair.",
                path=run,
            )
        telling.wait(0.2, "another session works on the run, or has not noticed its end")


def jitter(tries: int) -> float:
    """Return the seconds to wait before a lock is tried again."""
    return random.uniform(0.05, 0.2) * 2.0 ** min(tries, 4)  # noqa: S311 - no secret


def given_up(tries: int) -> bool:
    """Tell whether a lock was tried for often enough."""
    return tries >= _LOCK_TRIES


def may_pass(error: FailureError) -> bool:
    """Tell whether the same batch may do later what it could not now."""
    return isinstance(error, LockNotAvailable) or error.facts.get("sqlstate") in {
        "40P01", "40001", "57014",
    }
