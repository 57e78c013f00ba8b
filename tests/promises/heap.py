"""The truth of these tests: what a second connection reads off the heap, and the groups beside it.

Nothing here is the code under test's: PostgreSQL sorts the rows and compares the keys.
"""

from __future__ import annotations

import time
from typing import Any

import psycopg

from dedupe import Group, Run

Connection = psycopg.Connection[tuple[Any, ...]]
#: one row: its address, its id and its key's values as texts
Row = tuple[str, int, tuple[str | None, ...]]
Groups = set[frozenset[Row]]

#: no index answers, and groups are made by sorting
BY_HEAP = (
    "SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off;"
    " SET enable_hashagg = off; SET work_mem = '64MB'"
)


def observer(dsn: str) -> Connection:
    """Connect to read the heap, and nothing but the heap."""
    connection = psycopg.connect(dsn, autocommit=True)
    connection.execute(BY_HEAP)
    return connection


def groups_in_heap(connection: Connection, table: str, *key: str) -> Groups:
    """Group the rows of a table that has a column id by their key; NULLs are distinct."""
    columns = ", ".join(key)
    texts = ", ".join(f"{column}::text" for column in key)
    rows = connection.execute(
        f"SELECT array_agg(ctid::text), array_agg(id::int8), {texts} FROM {table}"
        f" WHERE num_nulls({columns}) = 0 GROUP BY {columns} HAVING count(*) > 1"
    ).fetchall()
    return {
        frozenset((ctid, number, tuple(values)) for ctid, number in zip(ctids, ids, strict=True))
        for ctids, ids, *values in rows
    }


def group_found(group: Group) -> frozenset[Row]:
    """Read one group of a run; raise AssertionError if a row is in it twice."""
    rows = [(m.ctid, int((m.pk or {})["id"] or 0), m.key) for m in group.members]
    assert len(set(rows)) == len(rows) > 1, rows
    return frozenset(rows)


def groups_found(run: Run, key: str | None = None) -> Groups:
    """Read the groups of a run, of one key if it is named; none of them may come twice."""
    groups = [group_found(g) for g in run.groups() if key in (None, g.key_name)]
    assert len(set(groups)) == len(groups)
    return set(groups)


def guests_in_heap(connection: Connection) -> Groups:
    """Group the rows of the table that the fixture ``guests`` makes."""
    return groups_in_heap(connection, "guests", "name")


def sessions(connection: Connection) -> list[str]:
    """List what the library has left on the server, once that had time to notice an end."""
    left: list[str] = []
    for _ in range(50):
        rows = connection.execute(
            "SELECT application_name FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            " AND datname = current_database() AND backend_type = 'client backend'"
        )
        left = [name for (name,) in rows]
        if not left:
            break
        time.sleep(0.1)
    return left
