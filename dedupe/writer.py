"""Writing sessions: the same pins, but statements may write, and proved indexes may be used.

A transaction of a writer is read-write and READ COMMITTED; it waits for a lock two
seconds at most. Index scans are on: foreign-key checks would otherwise read the whole
child for every row. So nothing may be written before every index that a check or a
statement may use is proved (``dedupe.repair.proof``).

Sources: https://www.postgresql.org/docs/current/sql-set-transaction.html,
https://www.postgresql.org/docs/current/runtime-config-client.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from .driver_errors import translated
from .session import Session, set_statement

_COPY_CHARACTERS = 1 << 16

#: What a writing transaction runs under beyond ``session.PINNED``.
WRITING: Mapping[str, str] = {
    "enable_seqscan": "on",
    "enable_indexscan": "on",
    "enable_indexonlyscan": "on",
    "enable_bitmapscan": "on",
    "lock_timeout": "2s",
}


class Writer(Session):
    """One backend that may write; use as a context manager.

    Not for two threads at a time, except ``cancel``.
    """

    def __init__(self, connection: psycopg.Connection[Any], name: str) -> None:
        super().__init__(connection, name)
        #: whether a savepoint is open: rows have its transaction's number then, not the outer one
        self.nested = False
        self._pins.update(WRITING)
        with translated():
            # Plans of foreign-key checks are made once a session and kept, so what they
            # are made under is set before the first of them.
            connection.execute(
                set_statement(
                    {**self._pins, "default_transaction_read_only": "off"}, local=False
                )
            )

    def __exit__(self, *raised: object) -> None:
        if any(raised):
            # What was cut off may have left settings of the session.
            self.keeper = None
        self.close()

    @contextmanager
    def writing(self, settings: Mapping[str, str] | None = None) -> Iterator[None]:
        """Run the block in one read-write transaction, READ COMMITTED, pins set locally.

        ``settings`` override pins. What the block raises rolls it back. Inside another
        ``writing`` the block is a savepoint of that transaction.
        Raises LockNotAvailable, ServerUnavailable and the driver's errors translated.
        """
        if self.connection.info.transaction_status is TransactionStatus.INTRANS:
            with self._savepoint(settings):
                yield
            return
        begin = sql.SQL("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; ")
        with self._transaction(begin, settings):
            yield

    @contextmanager
    def _savepoint(self, settings: Mapping[str, str] | None) -> Iterator[None]:
        """Run the block between a savepoint and its release."""
        self.rows("SAVEPOINT pgmend")
        outer, self.nested = self.nested, True
        try:
            if settings:
                self.set_local(settings)
            yield
        except BaseException:
            if not self.connection.closed:
                self.rows("ROLLBACK TO SAVEPOINT pgmend")
            raise
        finally:
            self.nested = outer
        self.rows("RELEASE SAVEPOINT pgmend")

    def count(self, statement: str, params: Sequence[object] = ()) -> int:
        """Run one statement that changes rows and return how many it changed."""
        with translated():
            cursor = self.connection.execute(self._written(statement), list(params) or None)
            return cursor.rowcount

    def copy_lines(self, statement: str, lines: Iterable[str]) -> None:
        """Stream lines in COPY's text format with ``COPY … FROM STDIN``; memory: a buffer."""
        with translated():
            cursor = self.connection.cursor()
            with cursor.copy(self._written(statement)) as copy:
                block: list[str] = []
                size = 0
                for line in lines:
                    block.append(line)
                    size += len(line)
                    if size >= _COPY_CHARACTERS:
                        copy.write("".join(block).encode("utf-8", "surrogateescape"))
                        block, size = [], 0
                copy.write("".join(block).encode("utf-8", "surrogateescape"))

    @contextmanager
    def own_path(self) -> Iterator[None]:
        """Let statements outside of transactions look names up as the role does, for the block."""
        change = "SELECT pg_catalog.set_config('search_path', $1, false)"
        self.rows(change, [self.own_search_path])
        try:
            yield
        finally:
            if not self.connection.closed:
                self.rows(change, [""])

    def alone(self, statement: str) -> None:
        """Run a statement that must not stand in a transaction (CREATE INDEX CONCURRENTLY).

        No lock and no statement timeout: cut off in the middle, such a statement leaves
        an invalid index behind.
        """
        with translated():
            self.connection.execute(set_statement({"lock_timeout": "0"}, local=False))
            try:
                self.connection.execute(self._written(statement))
            finally:
                if not self.connection.closed:
                    again = {"lock_timeout": WRITING["lock_timeout"]}
                    self.connection.execute(set_statement(again, local=False))
