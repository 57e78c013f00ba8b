"""An index built beside another one of the same shape, to take its place.

Sources: https://www.postgresql.org/docs/current/sql-createindex.html#SQL-CREATEINDEX-CONCURRENTLY,
https://www.postgresql.org/docs/current/sql-alterindex.html
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from psycopg import sql

from ..errors import DedupeError, LockNotAvailable, QueryFailed, ServerUnavailable
from ..key.catalog import qualified
from ..session import Session
from ..table import quoted
from ..writer import Writer
from .rebuild import build, build_failed

Tell = Callable[[str], None]

_ATTEMPTS = 20
_DEADLOCK = "40P01"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexShape:
    """What an index is, beyond the rows in it."""

    oid: int
    schema: str
    name: str
    #: quoted, qualified name of its table
    table: str
    table_oid: int
    unique: bool
    partitioned: bool
    #: name; empty for the database's default
    tablespace: str
    #: CREATE INDEX … from the table's name on; ONLY before it where partitioned
    rest: str
    #: what CREATE INDEX does not say: statistics targets, CLUSTER mark
    options: tuple[str, ...]
    #: its comment, as a literal; None without one
    comment: str | None

    @property
    def dress(self) -> tuple[str, ...]:
        """The statements that give an index of its name what CREATE INDEX does not say."""
        return (*self.options, *([commented(self.sql, self.comment)] if self.comment else ()))

    @property
    def made_unique(self) -> tuple[str, ...]:
        """The statements that make a unique one of its name, but for its dress."""
        whole = replace(self, rest=self.rest.removeprefix("ONLY "))
        statements = [whole.create(self.name, "UNIQUE INDEX")]
        if self.tablespace and not self.partitioned:
            statements.append(f"ALTER INDEX {self.sql} SET TABLESPACE {quoted(self.tablespace)}")
        return tuple(statements)

    @property
    def label(self) -> str:
        """The qualified name for people."""
        return f"{self.schema}.{self.name}"

    @property
    def sql(self) -> str:
        """The quoted, qualified name."""
        return qualified(self.schema, self.name)

    def create(self, name: str, how: str) -> str:
        """Write the statement that makes the same index under a name."""
        return f"CREATE {how} {quoted(name)} ON {self.rest}"


def describe_index(session: Session, index_oid: int) -> IndexShape | None:
    """Read an index's shape; None if it is gone. Reads the catalogs."""
    rows = session.rows(
        """
        SELECT n.nspname, x.relname, s.nspname, t.relname, i.indrelid::int8, i.indisunique,
               x.relkind = 'I', coalesce(p.spcname, ''), pg_catalog.pg_get_indexdef(x.oid),
               pg_catalog.format('CREATE %sINDEX %I ON ',
                   CASE WHEN i.indisunique THEN 'UNIQUE ' END, x.relname),
               i.indisclustered,
               pg_catalog.quote_literal(pg_catalog.obj_description(x.oid, 'pg_class'))
        FROM pg_catalog.pg_index i
        JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = x.relnamespace
        JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
        JOIN pg_catalog.pg_namespace s ON s.oid = t.relnamespace
        LEFT JOIN pg_catalog.pg_tablespace p ON p.oid = x.reltablespace
        WHERE i.indexrelid = $1::oid
        """,
        [index_oid],
    )
    if not rows:
        return None
    schema, name, table_schema, table_name, table_oid, unique, partitioned = rows[0][:7]
    tablespace, definition, head, clustered, comment = rows[0][7:]
    index, table = qualified(schema, name), qualified(table_schema, table_name)
    options = [
        f"ALTER INDEX {index} ALTER COLUMN {number} SET STATISTICS {target}"
        for number, target in session.rows(
            "SELECT attnum::int4, attstattarget::int4 FROM pg_catalog.pg_attribute"
            " WHERE attrelid = $1::oid AND attnum > 0 AND coalesce(attstattarget, -1) >= 0"
            " ORDER BY attnum",
            [index_oid],
        )
    ]
    if clustered:
        options.append(f"ALTER TABLE {table} CLUSTER ON {quoted(name)}")
    return IndexShape(
        oid=index_oid,
        schema=schema,
        name=name,
        table=table,
        table_oid=table_oid,
        unique=unique,
        partitioned=partitioned,
        tablespace=tablespace,
        rest=definition.removeprefix(head),
        options=tuple(options),
        comment=comment,
    )


def build_beside(
    writer: Writer, index: IndexShape, temporary: str, how: str, tell: Tell
) -> None:
    """Build an index of the same shape under a temporary name, unless that was done before.

    ``how``: ``INDEX`` or ``UNIQUE INDEX``. Nobody is blocked; no transaction may be open.
    Raises DuplicatesLeft where a unique one cannot be built, and what a build raises; what
    the attempt left is dropped then.
    """
    ident = qualified(index.schema, temporary)
    away = f"DROP INDEX CONCURRENTLY IF EXISTS {ident}"
    there = writer.rows(
        "SELECT i.indisvalid AND pg_catalog.pg_get_indexdef(x.oid) = $4"
        " FROM pg_catalog.pg_class x JOIN pg_catalog.pg_index i ON i.indexrelid = x.oid"
        " JOIN pg_catalog.pg_namespace n ON n.oid = x.relnamespace"
        " WHERE n.nspname = $1 AND x.relname = $2 AND i.indrelid = $3::oid",
        [
            index.schema,
            temporary,
            index.table_oid,
            f"CREATE {how} {temporary} ON {index.rest}",
        ],
    )
    if there == [(True,)]:
        return
    if there:
        writer.alone(away)
    tell(f"builds a {'unique' if how.startswith('UNIQUE') else 'plain'} index beside {index.label}")
    place = "SELECT pg_catalog.set_config('default_tablespace', $1, false)"
    writer.rows(place, [index.tablespace])
    try:
        build(writer, index.create(temporary, f"{how} CONCURRENTLY"), sweep=away)
    except ServerUnavailable:
        raise
    except DedupeError as error:
        more = ""
        try:
            writer.alone(away)
        except DedupeError as other:
            more = f" ({temporary} could not be dropped: {other.message})"
        raise build_failed(error, index.label, more) from error
    finally:
        if not writer.connection.closed:
            writer.rows("RESET default_tablespace")


def in_one_transaction(writer: Writer, work: Callable[[], None]) -> None:
    """Run it, again while a lock is not to be had. Raises what the server says."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with writer.writing():
                work()
        except QueryFailed as error:
            state = error.facts.get("sqlstate")
            busy = isinstance(error, LockNotAvailable) or state == _DEADLOCK
            if not busy or attempt == _ATTEMPTS:
                raise
            # Jitter, so that two who wait for each other do not meet again.
            time.sleep(random.uniform(0.1, 0.6))  # noqa: S311 -- no secret
        else:
            return


def commented(index: str, literal: str | None) -> str:
    """Write the statement that comments an index, named in SQL, or removes its comment."""
    return f"COMMENT ON INDEX {index} IS {literal or 'NULL'}"


def comment_on(writer: Writer, index: str, text: str | None) -> None:
    """Set the comment of an index, named in SQL, or remove it."""
    literal = sql.Literal(text).as_string(writer.connection) if text is not None else None
    writer.rows(commented(index, literal))
