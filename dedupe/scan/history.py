"""The server's history: what was read must not be taken back behind the run's back.

A place in it is a byte of the server's log. What a transaction did is seen a little
before its log is on the disk where nobody waits for that (``synchronous_commit = off``),
and a crash in between takes it back: a deleted row lives again, and it counts as written
before the horizon. So positions are saved once what was seen outlasts a crash.
A standby replays what is, but may be behind another server that the run has read.

Source: https://www.postgresql.org/docs/current/wal-async-commit.html
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from ..errors import ServerUnavailable
from ..session import Session

#: bytes of a log page's header, at most
_PAGE_HEADER_BYTES = 40
#: pauses of the log writer after which the end of every transaction is on the disk
_PAUSES = 3

#: SQL of the place in the server's history (bytes of its log, int8): what a statement saw
#: before this was computed lies before it
HISTORY = (
    "((CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()"
    " ELSE pg_catalog.pg_current_wal_insert_lsn() END)"
    " OPERATOR(pg_catalog.-) '0/0'::pg_catalog.pg_lsn)::pg_catalog.int8"
)


def check_history(session: Session, read: int) -> None:
    """Raise ServerUnavailable on a standby that has not replayed yet what the run has read.

    What was written before the horizon is not swept, so it must be there in every chunk,
    and what chunks saw deleted must be deleted in the snapshot.
    """
    if not session.standby:
        return
    (now,) = session.row(f"SELECT {HISTORY}")
    if now < read:
        raise ServerUnavailable(
            f"the standby is {read - now:,} bytes of log behind what the run has read",
            hint="Wait until it has caught up, then run the same command again: it goes on"
            " where it stopped.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One look at the history."""

    #: place behind all that could be seen
    place: int
    #: place up to which the log is on the disk
    flushed: int
    #: the first transaction that had not ended yet, nor any after it
    xmax: int
    #: when it was, by ``time.monotonic``
    at: float


class Witness:
    """Tells whether a crash of the server could still take a moment back.

    Not if its log is on the disk, nor if no transaction has ended since a moment that
    lasts, nor three pauses of the log writer later: then the end of every transaction
    is on the disk, though the log may go on behind it. A standby has on its disk what it
    replays. Source: https://www.postgresql.org/docs/current/wal-async-commit.html
    """

    def __init__(self, session: Session, settled: int | None = None) -> None:
        """Ask through ``session``; ``settled`` is the xmax of a moment that lasts."""
        self._session = session
        self._settled = settled
        self._block, delay = session.row(
            "SELECT pg_catalog.current_setting('wal_block_size')::int8, setting::int8"
            " FROM pg_catalog.pg_settings WHERE name = 'wal_writer_delay'"
        )
        self._wait = _PAUSES * delay / 1000

    def look(self) -> Moment:
        """Take a moment that lies behind all that was read before. Raises ServerUnavailable."""
        at = time.monotonic()
        place, flushed, xmax = self._session.row(
            f"SELECT {HISTORY}, CASE WHEN pg_catalog.pg_is_in_recovery() THEN {HISTORY} ELSE"
            " (pg_catalog.pg_current_wal_flush_lsn() OPERATOR(pg_catalog.-)"
            " '0/0'::pg_catalog.pg_lsn)::pg_catalog.int8 END,"
            " pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::int8"
        )
        if place % self._block <= _PAGE_HEADER_BYTES:
            # Where the next record will stand, behind the header of a page not yet begun.
            place -= place % self._block
        return Moment(place=place, flushed=flushed, xmax=xmax, at=at)

    def lasts(self, moment: Moment) -> bool:
        """Tell whether ``moment`` outlasts a crash. Raises ServerUnavailable after one."""
        if self._session.standby or moment.xmax == self._settled:
            return True
        now = self.look()
        if now.flushed < moment.place and now.at - moment.at <= self._wait:
            return False
        self._settled = moment.xmax
        return True
