"""Sessions that were closed and are used again, for the length of a block.

A new backend reads its catalogs first, and a scan opens half a dozen: of a small table that is
most of the time. What a session sets it sets for one transaction, so the next user of its
backend finds what a new one would find.
"""

from __future__ import annotations

from collections import deque

from .errors import FailureError, ServerUnavailable
from .session import Session


class Kept:
    """Reading sessions that nobody uses now; safe to use from any thread."""

    def __init__(self) -> None:
        self._idle: deque[Session] = deque()
        self._ended = False

    def keep(self, session: Session) -> None:
        """Take a session that was closed; of its last user's name nothing is left."""
        try:
            session.rows("SELECT pg_catalog.set_config('application_name', 'pgmend', false)")
        except FailureError:
            session.connection.close()
            return
        self._idle.append(session)
        if self._ended:
            self.end()

    def take(self, name: str) -> Session | None:
        """Give a session of this application_name, or None; what has ended meanwhile is left."""
        while True:
            try:
                kept = self._idle.pop()
            except IndexError:
                return None
            try:
                return kept.again(name)
            except ServerUnavailable:
                kept.connection.close()

    def end(self) -> None:
        """Close all, and from now on each that is still to come."""
        self._ended = True
        while self._idle:
            self._idle.pop().connection.close()
