"""The tables that are read: each in a database of its own, built, settled, and warm.

A database of its own makes the server's count of temporary bytes one contestant's
alone, and dropping it leaves nothing behind.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from dedupe.lab import Server, build_statuses

from .failure import BenchmarkFailed
from .truth import Found, found_in

#: share of the rows of statuses that have a twin
DUPLICATES = 0.001
#: most bytes on the disk for one row of statuses: the heap, two indexes and the sort
#: that builds them, later the peer's temporary files and the scan's spill
STATUS_BYTES = 550
#: the same for a row of the table that is one group, most of it in the run directory
COPY_BYTES = 500
#: bytes of an empty cluster, with room for the log
CLUSTER_BYTES = 400_000_000
#: as long as a uri of statuses
_COPIED = "https://instance042.example/users/0123456789/statuses/105000000000000000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table that stands ready."""

    #: connection string of its database
    dsn: str
    name: str
    #: the column whose values ought to be unique
    key: str
    #: the damaged unique index over it, if there is one
    index: str | None
    rows: int
    #: bytes of its heap
    heap_bytes: int
    truth: Found


def needed_bytes(rows: int) -> int:
    """Reckon the disk that a benchmark of ``rows`` rows takes at its worst moment."""
    return CLUSTER_BYTES + max(rows * STATUS_BYTES, copies_of(rows) * COPY_BYTES)


def copies_of(rows: int) -> int:
    """Say how many rows the table has that is one group."""
    return rows // 2


@contextmanager
def statuses(lab: Server, rows: int, seed: int) -> Iterator[Table]:
    """Build Mastodon's statuses, every row with a uri, and drop it at the end."""
    with database(lab, f"statuses_{rows}") as dsn:
        manifest = build_statuses(
            dsn, rows, seed=seed, duplicate_rate=DUPLICATES, null_share=0.0
        )
        (planted,) = manifest.indexes.values()
        if planted.null_rows or planted.rows != rows:
            raise BenchmarkFailed(
                f"{planted.rows:,} rows were built, {planted.null_rows:,} of them without a uri,"
                f" where {rows:,} with one were asked for"
            )
        yield Table(
            dsn=dsn,
            name=planted.table,
            key="uri",
            index=planted.index,
            rows=rows,
            heap_bytes=settle(dsn, planted.table),
            truth=found_in(planted.groups),
        )


@contextmanager
def one_group(lab: Server, rows: int) -> Iterator[Table]:
    """Build a table whose rows are all one group, and drop it at the end."""
    with database(lab, f"copies_{rows}") as dsn:
        with psycopg.connect(dsn) as connection:
            connection.execute("CREATE TABLE copies (id bigint NOT NULL, uri varchar NOT NULL)")
            connection.execute(
                "INSERT INTO copies SELECT generate_series(1::bigint, %s), %s", [rows, _COPIED]
            )
            connection.execute("ALTER TABLE copies ADD PRIMARY KEY (id)")
        yield Table(
            dsn=dsn,
            name="copies",
            key="uri",
            index=None,
            rows=rows,
            heap_bytes=settle(dsn, "copies"),
            truth=Found(groups=1, rows_in_groups=rows, fingerprint=None),
        )


@contextmanager
def database(lab: Server, what: str) -> Iterator[str]:
    """Give the connection string of an empty database, and drop it at the end."""
    name = f"pgmend_benchmark_{os.getpid()}_{what}"
    try:
        yield lab.create_database(name)
    finally:
        lab.drop_database(name)


def settle(dsn: str, table: str) -> int:
    """Leave nothing for the server to do later, and read the whole heap; return its bytes.

    A sequential scan of a large table passes through a small ring of buffers, one by address
    through all of them. A server that has just started would be given that memory page by
    page by whoever reads so first; one that has run for a while has it.
    """
    name = sql.Identifier(table)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("VACUUM (ANALYZE) {}").format(name))
        connection.execute("CHECKPOINT")
        for setting in ("enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan"):
            connection.execute(sql.SQL("SET {} = off").format(sql.Identifier(setting)))
        connection.execute(sql.SQL("SELECT count(*) FROM {}").format(name))
        connection.execute("SET enable_seqscan = off")
        connection.execute(
            sql.SQL("SELECT count(*) FROM {} WHERE ctid >= '(0,0)'").format(name)
        )
        row = connection.execute(
            "SELECT pg_relation_size(%s::regclass)", [name.as_string(connection)]
        ).fetchone()
    return int(row[0]) if row else 0
