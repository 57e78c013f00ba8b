"""The tables that are read: each in a database of its own, built, settled, and warm.

A database of its own makes the server's count of temporary bytes one contestant's
alone, and dropping it leaves nothing behind.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import psycopg
from psycopg import sql

from dedupe.lab import Server, build_statuses, mark_unique
from dedupe.lab.mastodon import CONVERSATIONS
from dedupe.lab.planted import Groups, id_sql, plan

from .failure import BenchmarkFailed
from .truth import Found, found_in

#: share of the rows that have a twin
DUPLICATES = 0.001
#: sizes of their groups, taken in turn
_SIZES = (2, 2, 2, 3, 5)
#: bytes of an empty cluster, with room for the log
CLUSTER_BYTES = 400_000_000
#: settings of a session that reads the heap and nothing else
HEAP_ONLY = {
    "enable_indexscan": "off",
    "enable_indexonlyscan": "off",
    "enable_bitmapscan": "off",
}
#: of so many rows of conversations one has a uri, as on an instance that began most itself
_KEYED = 3
#: as long as a uri of statuses
_COPIED = "https://instance042.example/users/0123456789/statuses/105000000000000000"
_MOST_COPIES = 5_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table that stands ready."""

    #: connection string of its database
    dsn: str
    #: the one that contestants are given, if it is another one
    relay: str | None = None
    name: str
    #: the column whose values ought to be unique
    key: str
    #: the damaged unique index over it, if there is one
    index: str | None
    rows: int
    #: rows that have a key
    keyed_rows: int
    #: bytes of its heap
    heap_bytes: int
    truth: Found

    @property
    def key_options(self) -> tuple[str, ...]:
        """The options of a scan that name the key."""
        return ("--index", self.index) if self.index else ("--key", self.key)

    @property
    def reached(self) -> str:
        """The connection string that contestants are given."""
        return self.relay or self.dsn


class Store(Protocol):
    """Where tables are while they are read."""

    def table(
        self, what: str, build: Callable[[str], Table]
    ) -> AbstractContextManager[Table]:
        """Give the table that ``build`` makes in an empty database, by its connection string."""
        ...


def copies_of(rows: int) -> int:
    """Say how many rows the table has that is one group."""
    return min(rows // 2, _MOST_COPIES)


def name_of(kind: str, rows: int, seed: int) -> str:
    """Return what tells a table of statuses or conversations from others in a store."""
    return f"{kind}_{rows}_{seed}"


def statuses(
    store: Store, rows: int, seed: int, share: float = DUPLICATES
) -> AbstractContextManager[Table]:
    """Give Mastodon's statuses, every row with a uri and ``share`` of them with a twin."""
    name = name_of("statuses", rows, seed)
    if share != DUPLICATES:
        name += f"_{round(share * 1e6)}"
    return store.table(name, lambda dsn: _statuses(dsn, rows, seed, share))


def conversations(store: Store, rows: int, seed: int) -> AbstractContextManager[Table]:
    """Give Mastodon's conversations: short rows, one in three with a uri."""
    name = name_of("conversations", rows, seed)
    return store.table(name, lambda dsn: _conversations(dsn, rows, seed))


def keyed(store: Store, rows: int, seed: int) -> AbstractContextManager[Table]:
    """Give rows that have the same groups by keys of several types; there is no index.

    The keys are ``number`` (bigint), ``token`` (uuid), ``uri`` (varchar), ``uri`` with
    ``half`` (int), and ``lower(uri)``.
    """
    return store.table(name_of("keyed", rows, seed), lambda dsn: _keyed(dsn, rows, seed))


def one_group(store: Store, rows: int) -> AbstractContextManager[Table]:
    """Give a table whose rows are all one group."""
    return store.table(f"copies_{rows}", lambda dsn: _copies(dsn, rows))


@contextmanager
def database(lab: Server, what: str) -> Iterator[str]:
    """Give the connection string of an empty database, and drop it at the end."""
    name = f"pgmend_benchmark_{os.getpid()}_{what}"
    try:
        yield lab.create_database(name)
    finally:
        lab.drop_database(name)


def settle(dsn: str, table: str) -> int:
    """Leave nothing for the server to do later, and read the whole heap; return its bytes."""
    name = sql.Identifier(table)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("VACUUM (ANALYZE) {}").format(name))
        connection.execute("CHECKPOINT")
    warm(dsn, table, buffers=True)
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT pg_relation_size(%s::regclass)", [name.as_string(connection)]
        ).fetchone()
    return int(row[0]) if row else 0


def warm(dsn: str, table: str, *, buffers: bool = False) -> None:
    """Read the whole heap into the page cache, and with ``buffers`` through the server's own.

    A sequential scan of a large table passes through a small ring of buffers, one by address
    through all of them. A server that has just started would be given that memory page by
    page by whoever reads so first; one that has run for a while has it.
    """
    name = sql.Identifier(table)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for setting in HEAP_ONLY:
            connection.execute(sql.SQL("SET {} = off").format(sql.Identifier(setting)))
        connection.execute(sql.SQL("SELECT count(*) FROM {}").format(name))
        if buffers:
            connection.execute("SET enable_seqscan = off")
            connection.execute(
                sql.SQL("SELECT count(*) FROM {} WHERE ctid >= '(0,0)'").format(name)
            )


def _statuses(dsn: str, rows: int, seed: int, share: float) -> Table:
    manifest = build_statuses(
        dsn, rows, seed=seed, duplicate_rate=share, group_sizes=_SIZES, null_share=0.0
    )
    (planted,) = manifest.indexes.values()
    if planted.null_rows or planted.rows != rows:
        raise BenchmarkFailed(
            f"{planted.rows:,} rows were built, {planted.null_rows:,} of them without a uri,"
            f" where {rows:,} with one were asked for"
        )
    return Table(
        dsn=dsn,
        name=planted.table,
        key="uri",
        index=planted.index,
        rows=rows,
        keyed_rows=rows,
        heap_bytes=settle(dsn, planted.table),
        truth=found_in(planted.groups),
    )


def _conversations(dsn: str, rows: int, seed: int) -> Table:
    shape = CONVERSATIONS
    groups = _groups(rows, seed)
    with psycopg.connect(dsn) as connection:
        connection.execute("SET work_mem = '256MB'; SET maintenance_work_mem = '1GB'")
        connection.execute(f"CREATE TABLE {shape.name} ({shape.columns})")
        _plant(connection, groups)
        # Without parameters: the values have signs that would stand for one. And a
        # set-returning function in FROM would be written to disk first.
        connection.execute(
            sql.SQL(
                f"INSERT INTO {shape.name} SELECT {shape.values} FROM (SELECT n, CASE"
                f" WHEN m.leader IS NOT NULL THEN m.leader WHEN n % {_KEYED} = 0 THEN n END AS k"
                f" FROM (SELECT generate_series(1::bigint, {rows}) AS n) s"
                " LEFT JOIN planted m USING (n)) r"
            )
        )
        connection.execute(f"ALTER TABLE {shape.name} ADD PRIMARY KEY (id)")
        connection.execute(f"CREATE INDEX {shape.index} ON {shape.name} {shape.on}")
        built = connection.execute(f"SELECT count(*), count(uri) FROM {shape.name}").fetchone()
    keyed = rows // _KEYED + int((groups.flat % _KEYED != 0).sum())
    if built != (rows, keyed):
        raise BenchmarkFailed(
            f"{shape.name} has {built} rows and keys, where {(rows, keyed)} were asked for"
        )
    mark_unique(dsn, shape.index)
    return Table(
        dsn=dsn,
        name=shape.name,
        key="uri",
        index=shape.index,
        rows=rows,
        keyed_rows=keyed,
        heap_bytes=settle(dsn, shape.name),
        truth=found_in(groups),
    )


def _keyed(dsn: str, rows: int, seed: int) -> Table:
    groups = _groups(rows, seed)
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "CREATE TABLE keyed (id bigint NOT NULL, number bigint NOT NULL, token uuid NOT NULL,"
            " uri varchar NOT NULL, half int NOT NULL)"
        )
        _plant(connection, groups)
        connection.execute(
            sql.SQL(
                f"INSERT INTO keyed SELECT {id_sql('n')}, {id_sql('k')}, md5(k::text)::uuid,"
                " 'https://instance' || lpad((k % 997)::text, 3, '0') || '.example/users/'"
                f" || substr(md5(k::text), 1, 10) || '/statuses/' || {id_sql('k')},"
                " (k / 2)::int FROM (SELECT n, coalesce(m.leader, n) AS k"
                f" FROM (SELECT generate_series(1::bigint, {rows}) AS n) s"
                " LEFT JOIN planted m USING (n)) r"
            )
        )
        connection.execute("SET maintenance_work_mem = '1GB'")
        connection.execute("ALTER TABLE keyed ADD PRIMARY KEY (id)")
    return Table(
        dsn=dsn,
        name="keyed",
        key="uri",
        index=None,
        rows=rows,
        keyed_rows=rows,
        heap_bytes=settle(dsn, "keyed"),
        truth=found_in(groups),
    )


def _groups(rows: int, seed: int) -> Groups:
    return plan(rows, seed=seed, duplicate_rate=DUPLICATES, group_sizes=_SIZES, largest_group=0)


def _plant(connection: psycopg.Connection[tuple[object, ...]], groups: Groups) -> None:
    """Bring the groups' row numbers and leaders to the server, for one transaction."""
    connection.execute(
        "CREATE TEMP TABLE planted (n bigint NOT NULL, leader bigint NOT NULL) ON COMMIT DROP"
    )
    with connection.cursor().copy("COPY planted FROM STDIN") as copy:
        for number, leader in zip(groups.flat.tolist(), groups.leaders().tolist(), strict=True):
            copy.write_row((number, leader))
    connection.execute("ANALYZE planted")


def _copies(dsn: str, rows: int) -> Table:
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE copies (id bigint NOT NULL, uri varchar NOT NULL)")
        connection.execute(
            "INSERT INTO copies SELECT generate_series(1::bigint, %s), %s", [rows, _COPIED]
        )
        connection.execute("ALTER TABLE copies ADD PRIMARY KEY (id)")
    return Table(
        dsn=dsn,
        name="copies",
        key="uri",
        index=None,
        rows=rows,
        keyed_rows=rows,
        heap_bytes=settle(dsn, "copies"),
        truth=Found(groups=1, rows_in_groups=rows, fingerprint=None),
    )
