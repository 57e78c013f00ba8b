"""Connections: every session of pgmend is opened, pinned and translated here.

A session reads only, keeps no statement timeout, evaluates nothing through an
index, and meets an error instead of rows that row-level security would hide.
Driver errors leave this module as ``DedupeError`` with the driver's as cause.

Sources: https://www.postgresql.org/docs/current/runtime-config-client.html,
https://www.postgresql.org/docs/current/runtime-config-query.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeAlias, cast

import psycopg
from psycopg import sql
from psycopg.adapt import Buffer, Loader
from sqlalchemy.engine import Connection as AlchemyConnection
from sqlalchemy.engine import Engine

from .errors import (
    ConnectionSettingsError,
    DedupeError,
    FailureError,
    LockNotAvailable,
    PermissionDenied,
    QueryFailed,
    ServerUnavailable,
    SnapshotLost,
    TransactionPooler,
    UnknownObject,
    UnreadableData,
    UnsupportedServer,
)

OLDEST_SERVER = 14
NEWEST_SERVER = 18

#: What every transaction runs under, whatever the role or the database sets.
#: The first block keeps the planner on the heap: an index that lies must not
#: answer, and a parallel or sequential plan would read the whole table for
#: each range. The second block fixes how values are written as text.
PINNED: Mapping[str, str] = {
    "enable_tidscan": "on",
    "enable_seqscan": "off",
    "enable_indexscan": "off",
    "enable_indexonlyscan": "off",
    "enable_bitmapscan": "off",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "extra_float_digits": "1",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmloption": "content",
    "quote_all_identifiers": "off",
    "search_path": "",
    "row_security": "off",
    "statement_timeout": "0",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
}

#: oid of the type of a bare literal
_UNKNOWN = 705
#: What the server says when the session that exported a snapshot has ended.
_SNAPSHOT_GONE = {"22023", "42704", "55000"}


class _LenientText(Loader):
    """Load text that may not be UTF-8 (SQL_ASCII databases) without losing a byte."""

    def load(self, data: Buffer) -> str:
        return bytes(data).decode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a database is, without any secret."""

    #: host name, address or socket directory; empty for the library's default
    host: str
    #: TCP port, or the socket's number
    port: str
    #: name of the database
    dbname: str
    #: role that connects
    user: str
    #: entry of the service file, or empty
    service: str
    #: libpq's sslmode, or empty
    sslmode: str

    def conninfo(self) -> str:
        """Write the target as a libpq connection string (without a password)."""
        facts = {name: getattr(self, name) for name in self.__slots__ if getattr(self, name)}
        return psycopg.conninfo.make_conninfo("", **facts)


class Session:
    """One backend of the server, pinned; use as a context manager.

    Not for two threads at a time, except ``cancel``.
    """

    def __init__(self, connection: psycopg.Connection[Any], name: str) -> None:
        connection.autocommit = True
        connection.prepare_threshold = None
        connection.cursor_factory = psycopg.RawCursor
        for text_type in ("text", "name", "varchar", "bpchar", _UNKNOWN):
            connection.adapters.register_loader(text_type, _LenientText)
        self.connection = connection
        self._pinning: dict[tuple[tuple[str, str], ...], sql.Composed] = {}
        with translated():
            connection.execute("SET client_encoding = 'UTF8'")
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
            major = self.version // 10000 if self.version >= 100000 else self.version / 10000
            raise UnsupportedServer(
                f"the server runs PostgreSQL {major:g}; pgmend needs {OLDEST_SERVER} or later",
                hint="Restore a copy of the database, upgrade the copy to a supported major"
                " (pg_upgrade, or dump and restore without its unique indexes), and scan there.",
                version=self.version,
            )
        pins = dict(PINNED)
        if self.version >= 170000:
            pins["transaction_timeout"] = "0"
        self._pins = pins
        with translated():
            connection.execute(_set({**pins, "default_transaction_read_only": "on"}, local=False))
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
        """Close the connection; the backend ends. Safe to call twice."""
        self.connection.close()

    def cancel(self) -> None:
        """Ask the server to cancel the running statement; callable from any thread."""
        try:
            self.connection.cancel_safe(timeout=2.0)
        except psycopg.Error:
            # A cancel that does not arrive leaves the statement to end by itself.
            return

    def rows(self, query: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run one statement with ``$1`` parameters and return its rows."""
        with translated():
            cursor = self.connection.execute(
                query.encode("utf-8", "surrogateescape"), list(params) or None
            )
            return cursor.fetchall() if cursor.description else []

    def row(self, query: str, params: Sequence[object] = ()) -> tuple[Any, ...]:
        """Run one statement that returns exactly one row."""
        (row,) = self.rows(query, params)
        return row

    def packed_row(self, query: str, params: Sequence[object] = ()) -> tuple[Any, ...]:
        """Run one statement that returns one row, its columns in binary form.

        ``bytea`` arrives as it is: in text form it would take twice the bytes.
        """
        with translated():
            cursor = self.connection.execute(
                query.encode("utf-8", "surrogateescape"), list(params) or None, binary=True
            )
            (row,) = cursor.fetchall()
        return cast("tuple[Any, ...]", row)

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
        pins = {**self._pins, **(settings or {})}
        key = tuple(pins.items())
        pinning = self._pinning.get(key)
        if pinning is None:
            pinning = self._pinning[key] = _set(pins, local=True)
        level = sql.SQL("READ COMMITTED")
        adopt: sql.Composable = sql.SQL("")
        if repeatable or snapshot is not None:
            level = sql.SQL("REPEATABLE READ")
        if snapshot is not None:
            adopt = sql.SQL("SET TRANSACTION SNAPSHOT {};").format(sql.Literal(snapshot))
        begin = sql.SQL("BEGIN ISOLATION LEVEL {} READ ONLY; {} {}").format(level, adopt, pinning)
        try:
            with translated():
                self.connection.execute(begin)
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
            self.connection.execute(_set(settings, local=True))


def _set(settings: Mapping[str, str], *, local: bool) -> sql.Composed:
    """Write the statement that sets settings until the end of the transaction, or for good."""
    calls = [
        sql.SQL("pg_catalog.set_config({}, {}, {})").format(
            sql.Literal(name), sql.Literal(value), sql.Literal(local)
        )
        for name, value in settings.items()
    ]
    return sql.SQL("SELECT ") + sql.SQL(", ").join(calls)


class Database:
    """A way to open sessions to one database; holds no connection itself."""

    def __init__(self, opener: Callable[[], psycopg.Connection[Any]]) -> None:
        self._opener = opener
        with self.open("pgmend") as session:
            info = session.connection.info
            parameters = info.get_parameters()
            self.where = Target(
                host=info.host,
                port=str(info.port),
                dbname=info.dbname,
                user=info.user,
                service=parameters.get("service", ""),
                sslmode=parameters.get("sslmode", ""),
            )
            if info.backend_pid != session.pid:
                self._refuse_transaction_pooling(session)

    def open(self, name: str = "pgmend") -> Session:
        """Open one more session (a new backend) whose application_name is ``name``.

        Raises ServerUnavailable, ConnectionSettingsError, UnsupportedServer.
        """
        with translated():
            connection = self._opener()
        try:
            return Session(connection, name)
        except BaseException:
            connection.close()
            raise

    def _refuse_transaction_pooling(self, first: Session) -> None:
        """Raise TransactionPooler when two sessions can share one backend.

        The key that the connection was given names another process than the one
        that answers, so something stands between. In transaction pooling the
        backend that answered a moment ago is free as soon as its statement ends:
        a second client that holds a transaction gets it, or pushes the first one
        to another. In session pooling a client keeps its backend.
        """
        for _ in range(5):
            with self.open("pgmend") as second, second.transaction():
                (held,) = second.row("SELECT pg_catalog.pg_backend_pid()")
                (now,) = first.row("SELECT pg_catalog.pg_backend_pid()")
                if held == first.pid or now != first.pid:
                    raise TransactionPooler(
                        "the connection goes through a pooler that hands out another server"
                        " session for every transaction; settings and snapshots do not hold there",
                        hint="Connect to the PostgreSQL server itself (its own port), or to a"
                        " pool with pool_mode = session.",
                    )


#: Whatever ``connect`` takes.
Connectable: TypeAlias = "str | Engine | AlchemyConnection | psycopg.Connection[Any] | Database"


def connect(target: Connectable) -> Database:
    """Make a ``Database`` of a URL, a libpq connection string, an engine or a connection.

    The server is asked once: its version must be 14 to 18 and nothing between
    may pool by transaction. A given connection lends its settings, never itself:
    pgmend opens backends of its own and leaves the given one as it is.

    Raises ConnectionSettingsError, ServerUnavailable, UnsupportedServer,
    TransactionPooler, UnknownObject (no such database).
    """
    if isinstance(target, Database):
        return target
    if isinstance(target, str):
        return Database(_opener_of_text(target))
    if isinstance(target, AlchemyConnection):
        return connect(target.engine)
    if isinstance(target, Engine):
        return Database(_opener_of_engine(target))
    if isinstance(target, psycopg.Connection):
        settings = psycopg.conninfo.make_conninfo(
            target.info.dsn, **({"password": target.info.password} if target.info.password else {})
        )
        return Database(_opener_of_text(settings))
    raise ConnectionSettingsError(
        f"cannot connect to a {type(target).__name__}",
        hint="Give a URL, a libpq connection string, a SQLAlchemy engine or connection,"
        " or a psycopg connection.",
    )


def _opener_of_text(text: str) -> Callable[[], psycopg.Connection[Any]]:
    """Make an opener of a URL (with or without a driver) or a connection string."""
    plain = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", text)
    try:
        given = psycopg.conninfo.conninfo_to_dict(plain)
    except psycopg.ProgrammingError as error:
        raise ConnectionSettingsError(
            f"the connection settings cannot be read: {error}".rstrip(),
            hint="Write postgresql://user@host:port/database or"
            " 'host=… port=… dbname=… user=…'.",
        ) from error
    given.setdefault("connect_timeout", "10")

    def open_one() -> psycopg.Connection[Any]:
        return psycopg.connect(**cast("dict[str, Any]", given), autocommit=True)

    return open_one


def _opener_of_engine(engine: Engine) -> Callable[[], psycopg.Connection[Any]]:
    """Make an opener that goes through the engine's own way to connect.

    The connection is detached from the engine's pool, because its settings change.
    """
    if engine.dialect.name != "postgresql":
        raise ConnectionSettingsError(
            f"the engine speaks to {engine.dialect.name}, not to PostgreSQL"
        )
    if engine.dialect.driver != "psycopg":
        return _opener_of_text(engine.url.render_as_string(hide_password=False))

    def open_one() -> psycopg.Connection[Any]:
        try:
            pooled = engine.raw_connection()
        except Exception as error:
            # SQLAlchemy wraps the driver's error; translated() knows the driver's.
            original = getattr(error, "orig", None)
            raise (original if isinstance(original, psycopg.Error) else error) from error
        connection = cast("psycopg.Connection[Any]", pooled.driver_connection)
        pooled.detach()
        return connection

    return open_one


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors into ours, the driver's kept as the cause."""
    try:
        yield
    except psycopg.Error as error:
        raise _translation(error) from error


def _translation(error: psycopg.Error) -> DedupeError:
    state = error.sqlstate or ""
    words = (error.diag.message_primary or str(error)).strip()
    facts: dict[str, Any] = {"sqlstate": state or None}
    if state.startswith("XX"):
        return UnreadableData(f"the server found damaged data: {words}", **facts)
    if state == "42501":
        return PermissionDenied(words, hint="Connect as a role that has the right.", **facts)
    if state == "3D000" or re.search(r'database ".*" does not exist', words):
        return UnknownObject(words, hint="List the databases with: psql -l", kind="database")
    if state.startswith("28") or re.search(
        r"authentication failed|no password supplied|no pg_hba.conf entry|role .* does not exist",
        words,
    ):
        return ConnectionSettingsError(
            words, hint="Check user, password (PGPASSWORD, ~/.pgpass) and pg_hba.conf.", **facts
        )
    if state == "55P03":
        return LockNotAvailable(
            f"a lock could not be had in time: {words}",
            hint="Another session holds the table locked; see pg_locks. Run the same command"
            " again: it goes on where it stopped.",
            **facts,
        )
    if state == "53100":
        return FailureError(f"the server's disk is full: {words}", **facts)
    gone = state[:2] == "08" or state in {"57P01", "57P02", "57P03", "40001", "53300", "57P05"}
    if gone or (not state and isinstance(error, psycopg.OperationalError)):
        return ServerUnavailable(
            f"the server cannot be reached or went away: {words}",
            hint="Start the server or mend the connection settings, then run the same command"
            " again: it goes on where it stopped.",
            **facts,
        )
    return QueryFailed(f"the server refused a statement: {words} (SQLSTATE {state})", **facts)
