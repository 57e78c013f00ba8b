"""Sessions that were closed and are used again, for the length of a block.

A new backend reads its catalogs first, and a scan opens half a dozen: of a small table that is
most of the time. What a session sets it sets for one transaction, so the next user of its
backend finds what a new one would find; but temporary tables, which are empty then.
"""

from __future__ import annotations

from collections import deque
from typing import TypeVar, cast

from .errors import FailureError, ServerUnavailable
from .session import Session

S = TypeVar("S", bound=Session)


class Kept:
    """Sessions that nobody uses now, by their kind; safe to use from any thread."""

    def __init__(self) -> None:
        self._idle: dict[type[Session], deque[Session]] = {}
        self._ended = False

    def keep(self, session: Session) -> None:
        """Take a session that was closed; of its last user's name and locks nothing is left."""
        try:
            session.rows(
                "SELECT pg_catalog.set_config('application_name', 'pgmend', false),"
                " pg_catalog.pg_advisory_unlock_all()"
            )
        except FailureError:
            session.connection.close()
            return
        self._idle.setdefault(type(session), deque()).append(session)
        if self._ended:
            self.end()

    def take(self, kind: type[S], name: str) -> S | None:
        """Give a session of this kind and application_name; None: there is none that lives."""
        while True:
            try:
                kept = self._idle[kind].pop()
            except (IndexError, KeyError):
                return None
            try:
                return cast("S", kept.again(name))
            except ServerUnavailable:
                kept.connection.close()

    def end(self) -> None:
        """Close all, and from now on each that is still to come."""
        self._ended = True
        for idle in list(self._idle.values()):
            while idle:
                idle.pop().connection.close()
