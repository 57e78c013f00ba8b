"""The locks of a repair seen from outside: what the journal says need not be believed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from ..failure import BenchmarkFailed
from ..measure import OWN_NAME
from .tables import TABLES
from .times import Times

#: seconds between two looks; a shorter transaction may be missed
_EVERY = 0.05
#: sessions that hold what a writer may have to wait for, and how long their transactions last
_HOLDERS = """
    SELECT a.pid, a.xact_start, extract(epoch FROM clock_timestamp() - a.xact_start)::float8
    FROM pg_stat_activity a
    WHERE a.datname = current_database() AND a.application_name <> %s AND EXISTS (
        SELECT FROM pg_locks l
        WHERE l.pid = a.pid AND l.granted AND l.relation = ANY(%s::regclass[])
            AND l.mode NOT IN ('AccessShareLock', 'ShareUpdateExclusiveLock'))
    """


@dataclass(slots=True, kw_only=True)
class Held:
    """How long transactions held locks on the tables; known when the watch has ended."""

    times: Times | None = None


@contextmanager
def watching(dsn: str) -> Iterator[Held]:
    """Look at the locks on the tables all the while. Raises BenchmarkFailed."""
    held = Held()
    ended = threading.Event()
    lasted: dict[object, float] = {}
    failed: list[psycopg.Error] = []

    def look() -> None:
        try:
            with psycopg.connect(dsn, autocommit=True, application_name=OWN_NAME) as connection:
                while not ended.wait(_EVERY):
                    for pid, began, seconds in connection.execute(
                        _HOLDERS, [OWN_NAME, list(TABLES)]
                    ):
                        lasted[pid, began] = seconds
        except psycopg.Error as error:
            failed.append(error)

    thread = threading.Thread(target=look, name="watch", daemon=True)
    thread.start()
    try:
        yield held
    finally:
        ended.set()
        thread.join()
    if failed:
        raise BenchmarkFailed(f"the locks could not be watched: {failed[0]}") from failed[0]
    if lasted:
        held.times = Times.of(lasted.values())
