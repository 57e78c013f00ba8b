"""Connections: where a database is, and the way to open sessions to it.

Every session of pgmend is opened here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import psycopg

from .driver_errors import translated
from .errors import ConnectionSettingsError, ServerUnavailable, TransactionPooler
from .reuse import Kept
from .session import DEFAULT_JOURNAL, Session
from .table import name_fits
from .writer import Writer

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection as AlchemyConnection
    from sqlalchemy.engine import Engine

S = TypeVar("S", bound=Session)

_TARGET = ("host", "port", "dbname", "user", "service", "sslmode")
#: secrets, and what every session of pgmend sets itself
_NOT_KEPT = (
    "password",
    "sslpassword",
    "scram_client_key",
    "scram_server_key",
    "oauth_client_secret",
    "application_name",
    "fallback_application_name",
    "client_encoding",
    "connect_timeout",
)


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
    #: whatever else was said of the connection, such as options or sslrootcert
    other: Mapping[str, str]

    def conninfo(self) -> str:
        """Write the target as a libpq connection string (without a secret)."""
        facts = {name: getattr(self, name) for name in _TARGET if getattr(self, name)}
        return psycopg.conninfo.make_conninfo("", **facts, **self.other)


class Database:
    """A way to open sessions to one database; holds no connection but within ``reusing``."""

    def __init__(
        self,
        opener: Callable[[], psycopg.Connection[Any]],
        journal_schema: str | None = None,
    ) -> None:
        self._opener = opener
        #: name of the schema of the journal, unquoted; None where none was said
        self.journal_schema = journal_schema
        #: where sessions that are closed wait to be used again; None: they end
        self.kept: Kept | None = None
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
                other={
                    name: value
                    for name, value in parameters.items()
                    if name not in (*_TARGET, *_NOT_KEPT)
                },
            )
            if info.backend_pid != session.pid:
                self._refuse_transaction_pooling(session)

    def journaling_in(self, schema: str) -> Database:
        """Return the same database with the journal in a schema of this name."""
        other = copy(self)
        other.journal_schema = schema
        return other

    @contextmanager
    def reusing(self) -> Iterator[Database]:
        """Give the same database for the block, which uses closed sessions again.

        A new backend has to read its catalogs first, which takes longer than a small table.
        Those that are kept end with the block; as many as were open at one time.
        """
        if self.kept is not None:
            yield self
            return
        other = copy(self)
        other.kept = kept = Kept()
        try:
            yield other
        finally:
            kept.end()

    def open(self, name: str = "pgmend") -> Session:
        """Open one more session (a backend of its own) whose application_name is ``name``.

        Raises ServerUnavailable, ConnectionSettingsError, UnsupportedServer.
        """
        return self._opened(Session, name)

    def open_writer(self, name: str) -> Writer:
        """Open a session that may write; raises what ``open`` raises."""
        return self._opened(Writer, name)

    def _opened(self, kind: type[S], name: str) -> S:
        if self.kept is None:
            return self._made(kind, name)
        session = self.kept.take(kind, name) or self._made(kind, name)
        session.journal = self.journal_schema or DEFAULT_JOURNAL
        session.keeper = self.kept.keep
        return session

    def _made(self, kind: type[S], name: str) -> S:
        with translated():
            connection = self._opener()
        try:
            session = kind(connection, name)
            session.journal = self.journal_schema or DEFAULT_JOURNAL
            return session
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
        refusal = TransactionPooler(
            "the connection goes through a pooler that hands out another server session for"
            " every transaction; settings and snapshots do not hold there",
            hint="Connect to the PostgreSQL server itself (its own port), or to a pool with"
            " pool_mode = session.",
        )
        for _ in range(5):
            try:
                with self.open("pgmend") as second, second.transaction():
                    (held,) = second.row("SELECT pg_catalog.pg_backend_pid()")
                    (now,) = first.row("SELECT pg_catalog.pg_backend_pid()")
            except ServerUnavailable as error:
                if error.sqlstate == "08P01":
                    # Statement pooling knows no transactions at all.
                    raise refusal from error
                raise
            if held == first.pid or now != first.pid:
                raise refusal


#: Whatever ``connect`` takes.
Connectable: TypeAlias = "str | Engine | AlchemyConnection | psycopg.Connection[Any] | Database"


def connect(target: Connectable, *, journal_schema: str | None = None) -> Database:
    """Make a ``Database`` of a URL, a libpq connection string, an engine or a connection.

    ``journal_schema`` names the schema of the journal of repairs (unquoted; ``pgmend``
    unless said); of a ``Database`` it makes another one.

    The server is asked once: its version must be 14 or later (tried up to 18) and
    nothing between may pool by transaction. A given connection lends its settings, never itself:
    pgmend opens backends of its own and leaves the given one as it is.

    Raises ConnectionSettingsError, ServerUnavailable, UnsupportedServer,
    TransactionPooler, UnknownObject (no such database).
    """
    if journal_schema is not None and not name_fits(journal_schema):
        raise ConnectionSettingsError(
            f"{journal_schema!r} cannot be the name of the journal's schema",
            hint="A name has 1 to 63 bytes.",
            setting="journal_schema",
        )
    if isinstance(target, Database):
        return target if journal_schema is None else target.journaling_in(journal_schema)
    if isinstance(target, str):
        return Database(_opener_of_text(target), journal_schema)
    if isinstance(target, psycopg.Connection):
        if target.closed:
            raise ConnectionSettingsError(
                "the given connection is closed", hint="Give an open one, or a URL."
            )
        settings = psycopg.conninfo.make_conninfo(
            target.info.dsn, **({"password": target.info.password} if target.info.password else {})
        )
        return Database(_opener_of_text(settings), journal_schema)
    # Only now: whoever gives something of SQLAlchemy's has paid for its import.
    from sqlalchemy.engine import Connection, Engine  # noqa: PLC0415

    if isinstance(target, Connection):
        return connect(target.engine, journal_schema=journal_schema)
    if isinstance(target, Engine):
        return Database(_opener_of_engine(target), journal_schema)
    raise ConnectionSettingsError(
        f"cannot connect to a {type(target).__name__}",
        hint="Give a URL, a libpq connection string, a SQLAlchemy engine or connection,"
        " or a psycopg connection.",
    )


def conninfo_of(text: str) -> str:
    """Return a URL (with or without a driver) or a connection string as libpq takes it.

    Raises ConnectionSettingsError.
    """
    plain = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", text)
    try:
        psycopg.conninfo.conninfo_to_dict(plain)
    except psycopg.ProgrammingError as error:
        # The driver's words may quote the text, and the text may hold a password.
        reason = str(error).strip().partition(":")[0].partition('"')[0].strip()
        raise ConnectionSettingsError(
            f"the connection settings cannot be read: {reason}",
            hint="Write postgresql://user@host:port/database or"
            " 'host=… port=… dbname=… user=…'.",
        ) from None
    return plain


def _opener_of_text(text: str) -> Callable[[], psycopg.Connection[Any]]:
    """Make an opener of a URL (with or without a driver) or a connection string."""
    given = psycopg.conninfo.conninfo_to_dict(conninfo_of(text))
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
            # A pool of its own: the engine's may be small and in use.
            pooled = engine.pool.recreate().connect()
        except Exception as error:
            # SQLAlchemy wraps the driver's error; translated() knows the driver's.
            original = getattr(error, "orig", None)
            raise (original if isinstance(original, psycopg.Error) else error) from error
        connection = cast("psycopg.Connection[Any]", pooled.driver_connection)
        pooled.detach()
        return connection

    return open_one
