"""Locks: one session works on a run, and what could not be locked is tried again."""

from __future__ import annotations

import random
import time

from ..errors import FailureError, LockNotAvailable, RunInUse
from ..session import Session
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
    if not _locked(writer, f"pgmend {run}", telling):
        raise RunInUse(
            f"another session works on the repair {run}",
            hint="Wait for it, or end it: it shows in pg_stat_activity as pgmend repair.",
            path=run,
        )


def lock_recipes(session: Session, telling: Telling) -> None:
    """Make sure that no other recipe is carried out in the database, as long as the session lives.

    Waits as ``lock_run`` does. Raises RunInUse.
    """
    if not _locked(session, "pgmend recipe", telling):
        raise RunInUse(
            "another process carries out a recipe in this database",
            hint="Wait for it, or stop it: it shows in pg_stat_activity as pgmend recipe.",
        )


def _locked(session: Session, name: str, telling: Telling) -> bool:
    """Take an advisory lock; return False if it is not to be had for some seconds."""
    end = time.monotonic() + _LEFTOVER_SECONDS
    while True:
        (mine,) = session.row(
            "SELECT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended($1::text, 7))",
            [name],
        )
        if mine:
            return True
        if time.monotonic() > end:
            return False
        telling.wait(0.2, "another session works here, or has not noticed its end")


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
