"""What the tables hold, in a form that can be compared: a count and a hash of all rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import psycopg
from psycopg import sql

from ..measure import OWN_NAME

#: table to its count of rows and the hash of them all, in no order
State: TypeAlias = Mapping[str, tuple[int, int]]

#: what a repair may change or must leave; ``updated_at`` belongs to whoever writes beside it
_COLUMNS = {
    "statuses": "id, account_id, created_at, uri, text",
    "favourites": "id, status_id, account_id, created_at",
    "media": "id, status_id, file",
    "reports": "id, target_type, target_id, comment",
}


def state(dsn: str) -> State:
    """Read every table through, without any index."""
    found = {}
    with psycopg.connect(dsn, autocommit=True, application_name=OWN_NAME) as connection:
        for setting in ("enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan"):
            connection.execute(sql.SQL("SET {} = off").format(sql.Identifier(setting)))
        for table, columns in _COLUMNS.items():
            row = connection.execute(
                sql.SQL(
                    f"SELECT count(*), coalesce(bit_xor(hash_record_extended(ROW({columns}), 0)),"
                    f" 0) FROM {table}"
                )
            ).fetchone()
            if row is not None:
                found[table] = (int(row[0]), int(row[1]))
    return found


def differing(found: State, wanted: State) -> list[str]:
    """Name the tables in which two states differ."""
    return [table for table in wanted if found.get(table) != wanted[table]]
