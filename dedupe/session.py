"""Sessions: one backend each, pinned so that no index answers and nothing is written.

A session reads only, keeps no statement timeout, evaluates nothing through an
index, and meets an error instead of rows that row-level security would hide.

Sources: https://www.postgresql.org/docs/current/runtime-config-client.html,
https://www.postgresql.org/docs/current/runtime-config-query.html
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any, Self

import psycopg
from psycopg import sql
from psycopg.adapt import Buffer, Loader
from psycopg.pq import TransactionStatus
from psycopg.types.string import ByteaBinaryLoader, StrDumperUnknown

from .driver_errors import translated
from .errors import QueryFailed, SnapshotLost, UnsupportedServer

OLDEST_SERVER = 14

#: What every transaction runs under, whatever the role or the database sets.
#: The first block keeps the planner on the heap: an index that lies must not
#: answer, and a parallel or sequential plan would read the whole table for
#: each range. A session reads its pages itself, without I/O workers (PostgreSQL 18).
#: Only tables of pgmend's own are analyzed; of these a small sample says enough.
#: The second block fixes how values are written as text.
PINNED: Mapping[str, str] = {
    "enable_tidscan": "on",
    "enable_seqscan": "off",
    "enable_indexscan": "off",
    "enable_indexonlyscan": "off",
    "enable_bitmapscan": "off",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "effective_io_concurrency": "0",
    "default_statistics_target": "10",
    "extra_float_digits": "1",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmloption": "content",
    "quote_all_identifiers": "off",
    "array_nulls": "on",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    "search_path": "",
    "row_security": "off",
    "statement_timeout": "0",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
}

#: Stands for the journal's schema in SQL. PostgreSQL text never holds a NUL byte, so no
#: hostile name can be taken for it.
JOURNAL = "\x00journal\x00"
#: where the journal is unless another schema was named
DEFAULT_JOURNAL = "pgmend"

#: oid of the type of a bare literal
_UNKNOWN = 705
#: What the server says when the session that exported a snapshot has ended.
_SNAPSHOT_GONE = {"22023", "42704", "55000"}


class _LenientText(Loader):
    """Load text that may not be UTF-8 (SQL_ASCII databases) without losing a byte."""

    def load(self, data: Buffer) -> str:
        return bytes(data).decode("utf-8", "surrogateescape")


class _LenientJson(Loader):
    """Load JSON whose names may not be UTF-8."""

    def load(self, data: Buffer) -> Any:
        return json.loads(bytes(data).decode("utf-8", "surrogateescape"))


class _LenientStr(StrDumperUnknown):
    """Send text as it was loaded."""

    def dump(self, obj: str) -> Buffer | None:
        if "\0" in obj:
            raise psycopg.DataError("PostgreSQL's texts cannot hold a NUL byte")
        return obj.encode("utf-8", "surrogateescape")


class Session:
    """One backend of the server, pinned; use as a context manager.

    Not for two threads at a time, except ``cancel``.
    """

    def __init__(self, connection: psycopg.Connection[Any], name: str) -> None:
        with translated():
            # Whoever made the connection may have left a transaction open.
            connection.rollback()
            connection.autocommit = True
        connection.prepare_threshold = None
        connection.cursor_factory = psycopg.RawCursor
        for text_type in ("text", "name", "varchar", "bpchar", _UNKNOWN):
            connection.adapters.register_loader(text_type, _LenientText)
        connection.adapters.register_loader("json", _LenientJson)
        connection.adapters.register_dumper(str, _LenientStr)
        self.connection = connection
        #: name of the schema that holds the journal, or is to
        self.journal = DEFAULT_JOURNAL
        #: what the catalogs said about types and operators, which are what they are
        self.known: dict[tuple[str, object], Any] = {}
        self._pinning: dict[tuple[tuple[str, str], ...], bytes] = {}
        #: takes the session when it is closed, to hand it out again
        self.keeper: Callable[[Session], None] | None = None
        #: whether it was taken: its backend is somebody else's then
        self.kept = False
        #: held while the session is closed or cancelled
        self.changing = threading.Lock()
        with translated():
            # To a client that speaks UTF-8 such a database refuses to send what is not.
            ascii_only = connection.info.parameter_status("server_encoding") == "SQL_ASCII"
            connection.execute(f"SET client_encoding = '{'SQL_ASCII' if ascii_only else 'UTF8'}'")
            (row,) = connection.execute(
                "SELECT pg_catalog.current_setting('server_version_num')::int,"
                " pg_catalog.current_setting('search_path'),"
                " pg_catalog.current_schemas(true)::text[],"
                " pg_catalog.pg_backend_pid(), pg_catalog.pg_is_in_recovery(),"
                " pg_catalog.set_config('application_name', $1, false)",
                [name[:63]],
            ).fetchall()
        self.version: int = row[0]
        self.own_search_path: str = row[1]
        self.schemas: tuple[str, ...] = tuple(row[2])
        self.pid: int = row[3]
        self.standby: bool = row[4]
        if self.version // 10000 < OLDEST_SERVER:
            connection.close()
            major = str(self.version // 10000)
            if self.version < 100000:
                major += f".{self.version // 100 % 100}"
            raise UnsupportedServer(
                f"the server runs PostgreSQL {major}; pgmend needs {OLDEST_SERVER} or later",
                hint="Restore a copy of the database, upgrade the copy to a supported major"
                " (pg_upgrade, or dump and restore without its unique indexes), and scan there.",
                version=self.version,
            )
        pins = dict(PINNED)
        if self.version >= 170000:
            pins["transaction_timeout"] = "0"
        self._pins = pins
        with translated():
            read_only = {**pins, "default_transaction_read_only": "on"}
            connection.execute(set_statement(read_only, local=False))
            # The server's own watch on its socket ends a statement whose client was
            # killed; a platform without it answers with an error, which costs nothing.
            try:
                connection.execute("SET client_connection_check_interval = '1s'")
            except psycopg.errors.InvalidParameterValue:
                pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the backend ends, unless a keeper takes it. Safe to call twice."""
        with self.changing:
            keeper, self.keeper = self.keeper, None
            if self.kept:
                return
            idle = self.connection.info.transaction_status is TransactionStatus.IDLE
            if keeper is None or not idle:
                self.connection.close()
                return
            self.kept = True
        keeper(self)

    def again(self, name: str) -> Self:
        """Return a session of the same backend for another user, after a keeper took this one.

        Raises ServerUnavailable where the backend has ended.
        """
        other = copy(self)
        _, other.standby = self.row(
            "SELECT pg_catalog.set_config('application_name', $1, false),"
            " pg_catalog.pg_is_in_recovery()",
            [name[:63]],
        )
        other.changing = threading.Lock()
        other.kept = False
        return other

    def cancel(self) -> None:
        """Ask the server to cancel the running statement; callable from any thread."""
        with self.changing:
            if self.kept:
                return
            # A cancel may arrive late, and must not meet a statement of the next user.
            self.keeper = None
            try:
                self.connection.cancel_safe(timeout=2.0)
            except psycopg.Error:
                # A cancel that does not arrive leaves the statement to end by itself.
                return

    def rows(self, query: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run one statement with ``$1`` parameters and return its rows."""
        with translated():
            cursor = self.connection.execute(self._written(query), list(params) or None)
            return cursor.fetchall() if cursor.description else []

    def _written(self, query: str) -> bytes:
        """Write a statement as it is sent."""
        if JOURNAL in query:
            query = query.replace(JOURNAL, _quoted(self.journal))
        return query.encode("utf-8", "surrogateescape")

    def row(self, query: str, params: Sequence[object] = ()) -> tuple[Any, ...]:
        """Run one statement that returns exactly one row."""
        (row,) = self.rows(query, params)
        return row

    def packed_rows(self, query: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows, which arrive in binary form.

        ``bytea`` arrives as it is: in text form it would take twice the bytes. Texts are
        bytes too, in the encoding of the session.
        """
        with translated():
            cursor = self.connection.cursor(binary=True)
            cursor.adapters.register_loader("text", ByteaBinaryLoader)
            cursor.execute(self._written(query), list(params) or None)
            return cursor.fetchall()

    def packed_row(self, query: str, params: Sequence[object] = ()) -> tuple[Any, ...]:
        """Run one statement that returns exactly one row, as ``packed_rows`` does."""
        (row,) = self.packed_rows(query, params)
        return row

    @contextmanager
    def transaction(
        self,
        *,
        repeatable: bool = False,
        snapshot: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> Iterator[None]:
        """Run the block in one read-only transaction with all pins set again locally.

        It is READ COMMITTED; if ``repeatable``, REPEATABLE READ; with ``snapshot`` (a
        name from ``pg_export_snapshot``) REPEATABLE READ under just that snapshot.
        ``settings`` override pins. One round trip to begin and one to end.
        Raises SnapshotLost where the session that exported the snapshot has ended.
        Source: https://www.postgresql.org/docs/current/sql-set-transaction.html
        """
        level = sql.SQL("READ COMMITTED")
        adopt: sql.Composable = sql.SQL("")
        if repeatable or snapshot is not None:
            level = sql.SQL("REPEATABLE READ")
        if snapshot is not None:
            adopt = sql.SQL("SET TRANSACTION SNAPSHOT {};").format(sql.Literal(snapshot))
        begin = sql.SQL("BEGIN ISOLATION LEVEL {} READ ONLY; {} ").format(level, adopt)
        with self._transaction(begin, settings, snapshot):
            yield

    @contextmanager
    def _transaction(
        self,
        begin: sql.Composable,
        settings: Mapping[str, str] | None,
        snapshot: str | None = None,
    ) -> Iterator[None]:
        """Begin with ``begin`` and all pins, run the block, commit or roll back."""
        pins = {**self._pins, **(settings or {})}
        key = tuple(pins.items())
        pinning = self._pinning.get(key)
        if pinning is None:
            # Written once: there are more pins than a short statement takes to run.
            pinning = set_statement(pins, local=True).as_bytes(self.connection)
            self._pinning[key] = pinning
        try:
            with translated():
                self.connection.execute(begin.as_bytes(self.connection) + pinning)
        except QueryFailed as error:
            self.connection.rollback()
            if snapshot is not None and error.sqlstate in _SNAPSHOT_GONE:
                raise SnapshotLost(
                    f"the snapshot of this pass is gone: {error.message}",
                    hint="Run the same command again: it goes on with a new snapshot.",
                ) from error
            raise
        try:
            yield
        except BaseException:
            if not self.connection.closed:
                try:
                    self.connection.execute("ROLLBACK")
                except psycopg.Error:
                    self.connection.close()
            raise
        with translated():
            self.connection.execute("COMMIT")

    def set_local(self, settings: Mapping[str, str]) -> None:
        """Change settings until the end of the running transaction."""
        with translated():
            self.connection.execute(set_statement(settings, local=True))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def set_statement(settings: Mapping[str, str], *, local: bool) -> sql.Composed:
    """Write the statement that sets settings until the end of the transaction, or for good."""
    calls = [
        sql.SQL("pg_catalog.set_config({}, {}, {})").format(
            sql.Literal(name), sql.Literal(value), sql.Literal(local)
        )
        for name, value in settings.items()
    ]
    return sql.SQL("SELECT ") + sql.SQL(", ").join(calls)
