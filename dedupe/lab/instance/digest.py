"""The sound rows of an instance as one number for each table, whatever their order."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from .manifest import Background
from .scene import FOUND_BY, PLANTED

Connection = psycopg.Connection[tuple[Any, ...]]
#: columns that a repair may write in rows that it has nothing else to do with
COUNTERS = {
    "account_stats": ("statuses_count", "following_count", "followers_count"),
    "status_stats": ("replies_count", "reblogs_count", "favourites_count", "quotes_count"),
}


def kinds(connection: Connection) -> dict[str, dict[str, str]]:
    """Return the type of each column of each table of the instance."""
    found: dict[str, dict[str, str]] = {}
    for table, column, kind in connection.execute(
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_class c"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        " WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace"
        " ORDER BY c.relname, a.attnum"
    ):
        found.setdefault(table, {})[column] = kind
    return found


def identity(table: str) -> str:
    """Return the column that tells planted rows from the others."""
    return FOUND_BY[table][0] if table in FOUND_BY else "id"


def digests(connection: Connection) -> dict[str, Background]:
    """Count and digest the rows of all tables that were not planted; reads them whole."""
    found = {}
    for table, columns in kinds(connection).items():
        if identity(table) not in columns:
            continue
        names = [name for name in columns if name not in COUNTERS.get(table, ())]
        row = connection.execute(
            sql.SQL(
                "SELECT count(*), coalesce(sum(hashtextextended(ROW({})::text, 0)), 0)::text"
                " FROM {} t WHERE {} < {}"
            ).format(
                sql.SQL(", ").join(map(sql.Identifier, names)),
                sql.Identifier(table),
                sql.Identifier(identity(table)),
                sql.Literal(PLANTED),
            )
        ).fetchone()
        if row is not None and row[0]:
            found[table] = Background(row[0], row[1])
    return found
