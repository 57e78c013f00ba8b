"""Real damage to unique indexes, done in the catalogs of a server that may be ruined.

Nothing here imitates: the rows are inserted by ordinary statements, and the
server itself then answers through the index as it would after a collation
change, a lost page or a failed build.

Source: https://www.postgresql.org/docs/current/catalog-pg-index.html
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from ..errors import LabError
from .comparator import reversed_comparators

Connection = psycopg.Connection[tuple[Any, ...]]
Statement = str | sql.SQL | sql.Composed


class Damage(enum.StrEnum):
    """How an index comes to miss duplicates, or to hold them."""

    #: rows without entries, as after a stale file or a build that missed them; a lookup finds one
    LOST_ENTRIES = "lost entries"
    #: entries sorted by another order, as after a collation change; a lookup finds one of two,
    #: and a key is hidden once only, in an index of several pages
    FLIPPED_ORDER = "flipped order"
    #: the same by an operator class whose compare function was replaced (see comparator_class)
    SWAPPED_COMPARATOR = "swapped comparator"
    #: every row has its entry; only uniqueness was not enforced for a while
    INDEXED_TWICE = "indexed twice"
    #: the index is gone, as after a restore that could not build it
    MISSING = "missing"
    #: as INDEXED_TWICE, and a failed REINDEX CONCURRENTLY left an invalid copy beside it
    INVALID_LEFTOVER = "invalid leftover"
    #: the index is gone, and a failed CREATE … CONCURRENTLY left an invalid one in its place
    FAILED_BUILD = "failed build"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Index:
    oid: int
    #: the indexes that have entries of their own: itself, or its partitions'
    leaves: tuple[int, ...]
    name: str
    table: str
    definition: str
    #: the constraint that it stands for
    constraint: str | None
    partitioned: bool


def damage(dsn: str, index: str, kind: Damage, statements: Sequence[Statement] = ()) -> str:
    """Let ``statements`` add duplicates under a unique index; return the index's definition.

    Afterwards the index looks valid again, also when a statement failed (but for
    MISSING, INVALID_LEFTOVER and FAILED_BUILD, which leave what their names say).
    The statements run in one transaction. ``index`` is an SQL name; of a
    partitioned index the partitions' are damaged.
    Raises LabError when the index is none, a statement fails, or the role is no superuser.
    """
    found = _look_up(dsn, index)
    if found.partitioned and kind is Damage.FAILED_BUILD:
        raise LabError(f"{found.name} is partitioned, and such an index is not built concurrently")
    if kind in {Damage.LOST_ENTRIES, Damage.INDEXED_TWICE, Damage.INVALID_LEFTOVER}:
        flag = "indisready" if kind is Damage.LOST_ENTRIES else "indisunique"
        with _transaction(dsn, found, kind) as connection:
            _set_flag(connection, found, flag, False)
            _run(connection, statements)
            _set_flag(connection, found, flag, True)
    elif kind is Damage.FLIPPED_ORDER:
        _flipped(dsn, found, statements)
    elif kind is Damage.SWAPPED_COMPARATOR:
        with (
            reversed_comparators(dsn, found.leaves[0], found.name),
            _transaction(dsn, found, kind) as connection,
        ):
            _run(connection, statements)
    else:
        with _transaction(dsn, found, kind) as connection:
            _drop(connection, found)
            _run(connection, statements)
    if kind is Damage.INVALID_LEFTOVER:
        for leaf in found.leaves:
            _fail(dsn, f"REINDEX INDEX CONCURRENTLY {_name(dsn, leaf)}")
    elif kind is Damage.FAILED_BUILD:
        _fail(dsn, found.definition.replace(" INDEX ", " INDEX CONCURRENTLY ", 1))
    return found.definition


def mark_unique(dsn: str, index: str) -> None:
    """Make a plain index look like a unique one, whatever it holds. Raises LabError.

    The fast way to INDEXED_TWICE for a large table: its duplicates may lie anywhere.
    """
    found = _look_up(dsn, index, unique=False)
    with _transaction(dsn, found, Damage.INDEXED_TWICE) as connection:
        _set_flag(connection, found, "indisunique", True)


def _look_up(dsn: str, index: str, *, unique: bool = True) -> _Index:
    try:
        with psycopg.connect(dsn) as connection:
            row = connection.execute(
                """
                SELECT i.indexrelid::int8, i.indexrelid::regclass::text, i.indrelid::regclass::text,
                       pg_get_indexdef(i.indexrelid), c.relkind = 'I', i.indisunique,
                       (SELECT conname FROM pg_constraint
                        WHERE conindid = i.indexrelid AND conrelid = i.indrelid
                          AND contype IN ('p', 'u')),
                       ARRAY(SELECT coalesce(t.relid, i.indexrelid)::int8
                             FROM (SELECT 1) one
                             LEFT JOIN LATERAL pg_partition_tree(i.indexrelid) t ON true
                             WHERE c.relkind = 'i' OR t.isleaf)
                FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                WHERE i.indexrelid = %s::regclass
                """,
                [index],
            ).fetchone()
            superuser = connection.info.parameter_status("is_superuser") == "on"
    except psycopg.Error as error:
        raise LabError(f"the index {index} cannot be damaged: {str(error).strip()}") from error
    if row is None or row[5] is not unique:
        raise LabError(f"{index} is not {'a unique' if unique else 'a plain'} index")
    if not superuser:
        raise LabError(
            f"the index {index} cannot be damaged by an ordinary role",
            hint="Damage is done in the catalogs: connect as a superuser.",
        )
    return _Index(
        oid=row[0],
        name=row[1],
        table=row[2],
        definition=row[3],
        partitioned=row[4],
        constraint=row[6],
        leaves=tuple(row[7]),
    )


@contextmanager
def _transaction(dsn: str, index: _Index, kind: Damage) -> Iterator[Connection]:
    """Give a transaction of a new session; its errors become LabErrors."""
    try:
        with psycopg.connect(dsn) as connection:
            yield connection
    except psycopg.errors.UniqueViolation as error:
        raise LabError(
            f"{kind} did not take on {index.name}: {error.diag.message_primary}",
            hint="The statements may violate this index only. Another order of its entries hides"
            " a key once, in an index of several pages.",
            index=index.name,
            violated=error.diag.constraint_name,
        ) from error
    except psycopg.Error as error:
        raise LabError(
            f"{kind} did not take on {index.name}: {str(error).strip()}", index=index.name
        ) from error


def _run(connection: Connection, statements: Sequence[Statement]) -> None:
    for statement in statements:
        connection.execute(statement)


def _set_flag(connection: Connection, index: _Index, flag: str, value: bool) -> None:
    # A flag of the partitioned index itself is looked at by nothing but its reader.
    connection.execute(
        f"UPDATE pg_catalog.pg_index SET {flag} = %s WHERE indexrelid = ANY (%s::oid[])",
        [value, [index.oid, *index.leaves] if flag == "indisunique" else list(index.leaves)],
    )


def _flipped(dsn: str, index: _Index, statements: Sequence[Statement]) -> None:
    """Insert while every column's direction is the other one.

    Sessions of their own for every step: one that has opened the index goes on
    with the order that it knows.
    """
    flip = (
        "UPDATE pg_catalog.pg_index i SET indoption = (SELECT pg_catalog.string_agg("
        "  (o # 1)::text, ' ' ORDER BY n)::int2vector"
        "  FROM pg_catalog.unnest(i.indoption::int2[]) WITH ORDINALITY u (o, n))"
        " WHERE indexrelid = ANY (%s::oid[])"
    )
    kind = Damage.FLIPPED_ORDER
    with _transaction(dsn, index, kind) as connection:
        connection.execute(flip, [list(index.leaves)])
    try:
        with _transaction(dsn, index, kind) as connection:
            _run(connection, statements)
    finally:
        with _transaction(dsn, index, kind) as connection:
            connection.execute(flip, [list(index.leaves)])


def _drop(connection: Connection, index: _Index) -> None:
    if index.constraint is None:
        connection.execute(f"DROP INDEX {index.name}")
    else:
        connection.execute(
            sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(
                sql.SQL(index.table), sql.Identifier(index.constraint)
            )
        )


def _name(dsn: str, oid: int) -> str:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT %s::oid::regclass::text", [oid]).fetchone()
    assert row is not None  # noqa: S101 -- a SELECT without FROM has one row
    return str(row[0])


def _fail(dsn: str, statement: str) -> None:
    """Run a build that must end at a duplicate and leave its invalid index."""
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(statement)
    except psycopg.errors.UniqueViolation:
        return
    except psycopg.Error as error:
        raise LabError(f"{statement} failed: {str(error).strip()}") from error
    raise LabError(
        f"{statement} did not fail, so it left nothing behind",
        hint="The statements must add duplicates.",
    )
