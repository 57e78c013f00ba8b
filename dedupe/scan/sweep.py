"""The sweep's two ends: the horizon before the first chunk, the snapshot after the last.

A version that the snapshot sees was written before the horizon, and then it stood
still through the whole main pass, or at or after it, and then the sweep reads it. So
main pass and sweep together are the table as of the snapshot.

Source: https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-PG-SNAPSHOT,
https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-SNAPSHOT-SYNCHRONIZATION
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from ..connect import Database
from ..session import Session

#: transactions after which the age of a row and that of the horizon can no longer be compared
HORIZON_LIFE = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizon:
    """What was still open at one moment, in full transaction numbers (xid8)."""

    #: the oldest transaction that could still be running
    xmin: int
    #: the first transaction that had not ended yet, nor any after it
    xmax: int
    #: on a standby only xmin holds
    standby: bool

    def too_old(self, now: Horizon) -> bool:
        """Whether so many transactions have passed that ages wrap around."""
        return now.xmax - self.xmin > HORIZON_LIFE

    def nobody_wrote_until(self, later: Horizon) -> bool:
        """Whether no transaction ended between the two, so that both see the same rows.

        On a primary the end of any transaction that wrote moves xmax, and one that runs
        on keeps xmin below it.
        """
        return (
            not self.standby
            and not later.standby
            and self.xmin == self.xmax == later.xmin == later.xmax
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A snapshot that other sessions can adopt while its holder keeps it."""

    #: name from pg_export_snapshot
    name: str
    #: the moment that it shows
    as_of: datetime
    horizon: Horizon


def read_horizon(session: Session) -> Horizon:
    """Ask for the horizon of this moment."""
    xmin, xmax = session.row(
        "SELECT pg_catalog.pg_snapshot_xmin(s)::text::int8,"
        " pg_catalog.pg_snapshot_xmax(s)::text::int8"
        " FROM pg_catalog.pg_current_snapshot() s"
    )
    return Horizon(xmin=xmin, xmax=xmax, standby=session.standby)


@contextmanager
def held_snapshot(
    database: Database, name: str, greet: Callable[[Session], None]
) -> Iterator[Snapshot]:
    """Take a snapshot and keep it for the block, in a session of its own.

    While it is held, vacuum cannot remove rows that die meanwhile; it takes no lock.
    Raises ServerUnavailable.
    """
    with database.open(name) as session:
        greet(session)
        with session.transaction(repeatable=True):
            # The transaction began before its snapshot was taken: what was committed before
            # that moment is in it.
            exported, moment = session.row(
                "SELECT pg_catalog.pg_export_snapshot(), pg_catalog.transaction_timestamp()"
            )
            horizon = read_horizon(session)
            yield Snapshot(name=exported, as_of=moment, horizon=horizon)
