"""A unique index made a plain one, so that an undo can bring the duplicates back.

The plain one is built beside it under a temporary name, which holds the old index's
oid; its comment holds what is still to be done. So a call that was cut off at any
point is finished by the next one.

Sources: https://www.postgresql.org/docs/current/sql-createindex.html#SQL-CREATEINDEX-CONCURRENTLY,
https://www.postgresql.org/docs/current/sql-dropindex.html,
https://www.postgresql.org/docs/current/sql-alterindex.html
"""

from __future__ import annotations

import json
import random
import shlex
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import sql

from ..errors import DedupeError, LockNotAvailable, QueryFailed, ServerUnavailable, UndoRefused
from ..key.catalog import qualified
from ..session import Session
from ..table import quoted
from ..writer import Writer
from .hangers import Hanger, hangers
from .rebuild import build, build_failed

Tell = Callable[[str], None]

_ATTEMPTS = 20
_MARK = "pgmend.make_plain"
_DEADLOCK, _DEPENDED_ON = "40P01", "2BP01"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Index:
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
    #: CREATE UNIQUE INDEX … from the table's name on; ONLY before it where partitioned
    rest: str
    #: what CREATE INDEX does not say: statistics targets, CLUSTER mark, comment
    dress: tuple[str, ...]

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


def restoring(session: Session, index_oid: int) -> tuple[str, ...]:
    """Return the statements that make the index, once plain, what it is now.

    Unique, with its constraint, the foreign keys that refer to it, replica identity,
    CLUSTER mark, tablespace, statistics targets and comments. To be asked for, and
    journaled, before ``make_plain``. Reads the catalogs only. Of a partitioned index the
    partitions' own options are not among it. Raises UnknownObject.
    """
    found = hangers(session, index_oid)
    index = _described(session, index_oid)
    if index is None:
        return ()
    keys = [h for h in found if h.kind in {"primary key", "unique constraint"}]
    statements = [f"DROP INDEX {index.sql}"]
    if not (index.partitioned and keys):
        whole = replace(index, rest=index.rest.removeprefix("ONLY "))
        statements.append(whole.create(index.name, "UNIQUE INDEX"))
        if index.tablespace and not index.partitioned:
            statements.append(f"ALTER INDEX {index.sql} SET TABLESPACE {quoted(index.tablespace)}")
    statements += [h.definition for h in keys]
    statements += index.dress
    for kind in ("replica identity", "foreign key"):
        statements += [h.definition for h in found if h.kind == kind]
    return tuple(statements)


def make_plain(
    writer: Writer, index_oid: int, drop: Collection[str], tell: Tell
) -> tuple[str, ...]:
    """Replace a unique index by a plain one of the same definition and name.

    Columns, expressions, operator classes, collations, INCLUDE, predicate, tablespace,
    storage options, statistics targets, CLUSTER mark and comment are kept. What hangs on
    the index must be named in ``drop`` (a CLUSTER mark need not): it is dropped, foreign
    keys first, in the transaction that swaps the indexes. Returns the statements that
    restore all of it.

    Nobody is blocked while the plain index is built. With nothing to drop, nor while the
    unique one goes (DROP INDEX CONCURRENTLY); else under a short ACCESS EXCLUSIVE lock on
    the tables, tried again for some time. A partitioned index, which PostgreSQL cannot
    build concurrently, is replaced in one transaction that locks the table and all its
    partitions for as long as the build takes.

    No transaction may be open. Given again after a kill it goes on from where it was; an
    index that is plain already, or whose replacement was finished, is left, and nothing
    is returned: so ``restoring`` is asked first. Raises UndoRefused where something hangs
    on it that was not named or cannot be dropped, LockNotAvailable, PermissionDenied, and
    what a build raises; the unique index is in place then. After LockNotAvailable the plain one
    waits beside it for the next call.
    """
    temporary = f"pgmend_plain_{index_oid}"
    begun = _begun(writer, temporary)
    index = _described(writer, index_oid)
    if index is None:
        return () if begun is None else _finished(writer, begun, tell)
    if not index.unique:
        return ()
    found = hangers(writer, index_oid)
    _refuse(index, found, drop)
    statements = restoring(writer, index_oid)
    must_go = [h for h in found if h.kind not in {"cluster", "partition parent"}]
    if index.partitioned:
        _replace_tree(writer, index, must_go, tell)
        return statements
    _build(writer, index, temporary, tell)
    todo = {"what": _MARK, "name": index.name, "dress": index.dress, "restore": statements}
    with writer.writing():
        _comment(writer, qualified(index.schema, temporary), json.dumps(todo))
    if not must_go:
        writer.alone(f"DROP INDEX CONCURRENTLY {index.sql}")
    try:
        _swap(writer, index.schema, temporary, todo, [h.drop for h in must_go])
    except UndoRefused:
        writer.alone(f"DROP INDEX CONCURRENTLY {qualified(index.schema, temporary)}")
        raise
    _told(tell, index.label, must_go)
    return statements


def check_drops(session: Session, index_oid: int, drop: Collection[str]) -> None:
    """Raise UndoRefused unless all that hangs on an index was named and can be dropped."""
    index = _described(session, index_oid)
    if index is not None:
        _refuse(index, hangers(session, index_oid), drop)


def _described(session: Session, index_oid: int) -> _Index | None:
    rows = session.rows(
        """
        SELECT n.nspname, x.relname, s.nspname, t.relname, i.indrelid::int8, i.indisunique,
               x.relkind = 'I', coalesce(p.spcname, ''), pg_catalog.pg_get_indexdef(x.oid),
               pg_catalog.format('CREATE UNIQUE INDEX %I ON ', x.relname),
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
    dress = [
        f"ALTER INDEX {index} ALTER COLUMN {number} SET STATISTICS {target}"
        for number, target in session.rows(
            "SELECT attnum::int4, attstattarget::int4 FROM pg_catalog.pg_attribute"
            " WHERE attrelid = $1::oid AND attnum > 0 AND coalesce(attstattarget, -1) >= 0"
            " ORDER BY attnum",
            [index_oid],
        )
    ]
    if clustered:
        dress.append(f"ALTER TABLE {table} CLUSTER ON {quoted(name)}")
    if comment is not None:
        dress.append(f"COMMENT ON INDEX {index} IS {comment}")
    return _Index(
        oid=index_oid,
        schema=schema,
        name=name,
        table=table,
        table_oid=table_oid,
        unique=unique,
        partitioned=partitioned,
        tablespace=tablespace,
        rest=definition.removeprefix(head),
        dress=tuple(dress),
    )


def _refuse(index: _Index, found: Sequence[Hanger], drop: Collection[str]) -> None:
    """Raise UndoRefused unless all that hangs on the index was named and can be dropped."""
    reasons = [
        f"{h.kind} {h.name} of {h.table}"
        for h in found
        if h.kind == "partition parent" or (h.kind != "cluster" and h.name not in drop)
    ]
    if not reasons:
        return
    names = dict.fromkeys(h.name for h in found if h.drop and h.kind != "cluster")
    options = " ".join(f"--drop-constraint {shlex.quote(name)}" for name in names)
    hint = f"Give {options} (SQL to restore them is printed), or --side-table"
    if any(h.kind == "partition parent" for h in found):
        hint = "Undo it with the partitioned table's index, which this one is a part of, or give"
        hint += " --side-table"
    raise UndoRefused(
        f"the duplicates cannot come back under the unique index {index.label}; on it"
        f" {'hang' if len(reasons) > 1 else 'hangs'}: {'; '.join(reasons)}",
        hint=f"{hint}: then the rows come back into a table of their own.",
        reasons=tuple(reasons),
        index=index.label,
    )


def _build(writer: Writer, index: _Index, temporary: str, tell: Tell) -> None:
    """Build the plain index under its temporary name, unless that was done before."""
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
            f"CREATE INDEX {temporary} ON {index.rest}",
        ],
    )
    if there == [(True,)]:
        return
    if there:
        writer.alone(away)
    tell(f"builds a plain index beside {index.label}")
    place = "SELECT pg_catalog.set_config('default_tablespace', $1, false)"
    writer.rows(place, [index.tablespace])
    try:
        build(writer, index.create(temporary, "INDEX CONCURRENTLY"), sweep=away)
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


def _begun(session: Session, temporary: str) -> tuple[str, str, dict[str, Any]] | None:
    """Return schema, name and what is to be done of a plain index that waits for its name."""
    for schema, comment in session.rows(
        "SELECT n.nspname, pg_catalog.obj_description(x.oid, 'pg_class')"
        " FROM pg_catalog.pg_class x JOIN pg_catalog.pg_index i ON i.indexrelid = x.oid"
        " JOIN pg_catalog.pg_namespace n ON n.oid = x.relnamespace"
        " WHERE x.relname = $1 AND i.indisvalid AND NOT i.indisunique",
        [temporary],
    ):
        try:
            todo = json.loads(comment or "")
        except ValueError:
            continue
        if isinstance(todo, dict) and todo.get("what") == _MARK:
            return schema, temporary, todo
    return None


def _finished(
    writer: Writer, begun: tuple[str, str, dict[str, Any]], tell: Tell
) -> tuple[str, ...]:
    schema, temporary, todo = begun
    _swap(writer, schema, temporary, todo, [])
    _told(tell, f"{schema}.{todo['name']}", [])
    return tuple(todo["restore"])


def _swap(
    writer: Writer, schema: str, temporary: str, todo: dict[str, Any], drops: Sequence[str]
) -> None:
    """Drop what hangs on the unique index and with it that one; give its name to the plain one."""
    ident, final = qualified(schema, temporary), qualified(schema, todo["name"])

    def swap() -> None:
        for statement in drops:
            writer.rows(statement)
        if drops:
            # Gone with its constraint, but for one that was a replica identity only.
            writer.rows(f"DROP INDEX IF EXISTS {final}")
        writer.rows(f"ALTER INDEX {ident} RENAME TO {quoted(todo['name'])}")
        _comment(writer, final, None)
        for statement in todo["dress"]:
            writer.rows(statement)

    _in_one_transaction(writer, swap)


def _replace_tree(writer: Writer, index: _Index, must_go: Sequence[Hanger], tell: Tell) -> None:
    """Replace a partitioned index and its partitions' in one transaction."""

    def swap() -> None:
        tree = [
            (_described(writer, oid), above)
            for oid, above in writer.rows(
                "SELECT relid::pg_catalog.oid::int8, parentrelid::pg_catalog.oid::int8"
                " FROM pg_catalog.pg_partition_tree($1::oid::pg_catalog.regclass)"
                " ORDER BY level, 1",
                [index.oid],
            )
        ]
        for hanger in must_go:
            writer.rows(hanger.drop)
        writer.rows(f"DROP INDEX IF EXISTS {index.sql}")
        # One by one and attached: CREATE INDEX on the parent would take plain indexes of
        # the user's own into it, and they would be dropped with it some day.
        made: dict[int, _Index] = {}
        for member, above in tree:
            if member is None:
                continue
            writer.set_local({"default_tablespace": member.tablespace})
            writer.rows(member.create(member.name, "INDEX"))
            made[member.oid] = member
            if above in made:
                writer.rows(f"ALTER INDEX {made[above].sql} ATTACH PARTITION {member.sql}")
            for statement in member.dress:
                writer.rows(statement)

    tell(f"replaces the partitioned index {index.label}: its table is locked while it is built")
    _in_one_transaction(writer, swap)
    _told(tell, index.label, must_go)


def _in_one_transaction(writer: Writer, work: Callable[[], None]) -> None:
    """Run it, again while a lock is not to be had; raises UndoRefused for what depends on it."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with writer.writing():
                work()
        except QueryFailed as error:
            state = error.facts.get("sqlstate")
            if state == _DEPENDED_ON:
                cause = error.__cause__
                detail = cause.diag.message_detail if isinstance(cause, psycopg.Error) else None
                raise UndoRefused(
                    f"something else depends on what would be dropped: {detail or error.message}",
                    hint="Drop that first, or give --side-table.",
                    reasons=(detail or error.message,),
                ) from error
            busy = isinstance(error, LockNotAvailable) or state == _DEADLOCK
            if not busy or attempt == _ATTEMPTS:
                raise
            # Jitter, so that two who wait for each other do not meet again.
            time.sleep(random.uniform(0.1, 0.6))  # noqa: S311 -- no secret
        else:
            return


def _comment(writer: Writer, index: str, text: str | None) -> None:
    statement = sql.SQL("COMMENT ON INDEX {} IS {}").format(sql.SQL(index), sql.Literal(text))
    writer.rows(statement.as_string(writer.connection))


def _told(tell: Tell, label: str, gone: Sequence[Hanger]) -> None:
    also = (
        f"; dropped: {', '.join(f'{h.kind} {h.name} of {h.table}' for h in gone)}" if gone else ""
    )
    tell(f"{label} is a plain index now, and ON CONFLICT no longer finds it{also}")
