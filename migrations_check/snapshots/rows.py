"""How many rows a snapshot's tables have to have, told before anybody needs them.

The rows are counted just before the snapshot is taken. What others do meanwhile is read
off the statistics' counters, so that each table gets bounds: exact where nobody wrote,
as wide as the changes where somebody did. A cluster's tables are read once for that.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from dedupe.connect import Database
from dedupe.errors import QueryFailed
from dedupe.table import quoted

from .cluster import beside

#: seconds after which a backend has told what it did, at the latest: one that is idle waits
#: ten (PGSTAT_IDLE_INTERVAL in pgstat.c, since PostgreSQL 15)
_TOLD_AFTER = 11.0
_GONE = "42P01"

Name: TypeAlias = "tuple[str, str, str]"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRows:
    """How many rows of a table there are at least and at most; None: nobody can tell."""

    database: str
    schema: str
    table: str
    least: int
    most: int | None
    #: not in the write-ahead log, so that a server empties it when it recovers
    unlogged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Rows of a table, with what distinguishes them from those of a moment later."""

    #: counted after the counters were read; None where only those were asked for
    rows: int | None
    inserted: int
    deleted: int
    #: another one after a TRUNCATE, which no counter tells
    file: int
    unlogged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """All tables of a cluster, and the transactions that had been begun by then."""

    tables: Mapping[Name, Counted]
    begun: str


def note(database: Database, databases: tuple[str, ...], *, counting: bool) -> Noted:
    """Read the counters of all tables but temporary ones, and count their rows if asked to.

    Reads every table once for that, each in a transaction of its own, but for unlogged ones
    on a standby, which has none of their rows; takes ACCESS SHARE locks. Raises what
    ``connect`` raises, PermissionDenied and LockNotAvailable.
    Source: https://www.postgresql.org/docs/current/monitoring-stats.html
    """
    with database.open("pgmend guard") as session:
        (begun,) = session.row("SELECT pg_catalog.pg_current_snapshot()::text")
    found: dict[Name, Counted] = {}
    for name in databases:
        found.update(_of_one(beside(database, name), name, counting=counting))
    return Noted(tables=found, begun=begun)


def bounds(database: Database, before: Noted, databases: tuple[str, ...]) -> tuple[TableRows, ...]:
    """Return the bounds of all tables that were there before and are there after the snapshot.

    Waits until everybody has told what they wrote, if anybody wrote. Raises what ``note`` raises.
    """
    with database.open("pgmend guard") as session:
        (begun,) = session.row("SELECT pg_catalog.pg_current_snapshot()::text")
    if begun != before.begun:
        time.sleep(_TOLD_AFTER)
    after = note(database, databases, counting=False).tables
    return tuple(_between(name, before.tables[name], now) for name, now in sorted(after.items())
                 if name in before.tables)


def _between(name: Name, before: Counted, after: Counted) -> TableRows:
    inserted, deleted = after.inserted - before.inserted, after.deleted - before.deleted
    rows = before.rows or 0
    # Counters that went back were reset, and tell nothing.
    known = inserted >= 0 and deleted >= 0
    least = rows - deleted if known and before.file == after.file else 0
    return TableRows(
        database=name[0], schema=name[1], table=name[2],
        least=max(0, least), most=rows + inserted if known else None,
        unlogged=after.unlogged,
    )


def _of_one(database: Database, dbname: str, *, counting: bool) -> Iterator[tuple[Name, Counted]]:
    with database.open("pgmend guard") as session:
        told = session.rows(
            "SELECT n.nspname, c.relname, pg_catalog.pg_stat_get_tuples_inserted(c.oid),"
            " pg_catalog.pg_stat_get_tuples_deleted(c.oid), pg_catalog.pg_relation_filenode(c.oid),"
            " c.relpersistence = 'u'"
            " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind = 'r' AND c.relpersistence IN ('p', 'u')"
            " AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
        )
        for schema, table, inserted, deleted, file, unlogged in told:
            rows = None
            if counting and not (unlogged and session.standby):
                try:
                    (rows,) = session.row(
                        f"SELECT pg_catalog.count(*) FROM ONLY {quoted(schema)}.{quoted(table)}"
                    )
                except QueryFailed as error:
                    if error.sqlstate == _GONE:
                        continue
                    raise
            yield (dbname, _told(schema), _told(table)), Counted(
                rows=rows, inserted=inserted, deleted=deleted, file=file or 0, unlogged=unlogged
            )


def _told(name: str) -> str:
    """Write a name that is no UTF-8, as an SQL_ASCII database may have it, as a receipt can."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
