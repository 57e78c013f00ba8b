"""A parent table whose unique index lied, three tables that refer to it, and copies of them.

``statuses`` has groups of two. Its other rows are alone, and every row has one row in
each of the three tables: ``favourites`` (its foreign key cascades; re-pointing a loser's
row makes it equal to the survivor's in one group of four), ``media`` (SET NULL, without
an index) and ``reports`` (a type and an id, no foreign key; one row in four is about
something else that happens to have the same id).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from dedupe.lab import Server, mark_unique

from ..failure import BenchmarkFailed
from ..table import CLUSTER_BYTES, database, settle

INDEX = "index_statuses_on_uri"
TABLES = ("statuses", "favourites", "media", "reports")
#: most bytes on the disk for one row of statuses and its children: the original, a copy,
#: the log of both, of the repair and of its undo, and the journal
ROW_BYTES = 3_000
#: primes, one for each table, that carry a row's number to that of the row it refers to
_STRIDES = {"favourites": 15_485_863, "media": 32_452_843, "reports": 49_979_687}
#: the same from a group's surplus row to its first
_TWIN_STRIDE = 67_867_967
#: number of the first row's milliseconds, and the milliseconds between two rows
_EPOCH, _STEP = 1_600_000_000_000, 137


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How large the tables are."""

    #: of each of the four
    rows: int
    #: of two rows each
    groups: int

    def __post_init__(self) -> None:
        """Raise ValueError where there are too few rows for the groups."""
        if not 0 < 2 * self.groups <= self.rows:
            raise ValueError("every group takes two rows")

    @property
    def accounts(self) -> int:
        """How many accounts the rows are spread over."""
        return max(100, self.rows // 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """The built database, which nobody works on."""

    dsn: str
    shape: Shape
    #: of the heaps of all four tables
    heap_bytes: int


def status_id(number: int) -> int:
    """Return the primary key of a row of statuses by its number."""
    return ((_EPOCH + number * _STEP) << 16) + (number * 40503 & 65535)


def needed_bytes(rows: int) -> int:
    """Reckon the disk that a benchmark of ``rows`` rows takes at its worst moment."""
    return CLUSTER_BYTES + rows * ROW_BYTES


@contextmanager
def original(lab: Server, shape: Shape) -> Iterator[Original]:
    """Build all tables, let the unique index lie, and drop everything at the end."""
    with database(lab, f"repair_{shape.rows}") as dsn:
        try:
            with psycopg.connect(dsn) as connection:
                connection.execute("SET work_mem = '256MB'; SET maintenance_work_mem = '1GB'")
                for statement in _statements(shape):
                    connection.execute(sql.SQL(statement))
        except psycopg.Error as error:
            raise BenchmarkFailed(f"the tables could not be built: {error}") from error
        mark_unique(dsn, INDEX)
        yield Original(dsn=dsn, shape=shape, heap_bytes=sum(settle(dsn, table) for table in TABLES))


@contextmanager
def copied(lab: Server, of: Original, name: str) -> Iterator[str]:
    """Give the connection string of a fresh copy, and drop it at the end.

    Its files are copied and not logged, as the original's were not in the beginning.
    """
    template = conninfo_to_dict(of.dsn)["dbname"]
    copy = f"pgmend_benchmark_{os.getpid()}_{name}"
    strategy = " STRATEGY file_copy" if lab.version >= 150_000 else ""
    try:
        with psycopg.connect(lab.dsn(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}" + strategy).format(
                    sql.Identifier(copy), sql.Identifier(str(template))
                )
            )
        yield lab.dsn(copy)
    finally:
        lab.drop_database(copy)


def _statements(shape: Shape) -> Iterator[str]:
    """Yield the statements that make all tables; the index on uri is plain in the end."""
    numbers = f"(SELECT generate_series(1::bigint, {shape.rows}) AS n) s"
    time = (
        "timestamp '2024-05-01' + n * interval '1 second', timestamp '2024-05-01' + n * interval"
        " '1 second'"
    )
    uri = (
        "'https://instance' || lpad((k % 997)::text, 3, '0') || '.example/users/'"
        f" || substr(md5(k::text), 1, 10) || '/statuses/' || {_id('k')}"
    )
    # pgmend proves the indexes that it relies on; without amcheck it has to count their entries.
    yield "CREATE EXTENSION amcheck"
    yield (
        "CREATE TABLE statuses (id bigint NOT NULL, account_id bigint NOT NULL,"
        " created_at timestamp NOT NULL, updated_at timestamp NOT NULL, uri varchar NOT NULL,"
        " text text NOT NULL)"
    )
    yield (
        f"INSERT INTO statuses SELECT {_id('n')}, {_account('k', shape)}, {time}, {uri},"
        f" 'status ' || n FROM (SELECT n, {_key('n', shape)} AS k FROM {numbers}) r"
    )
    yield "ALTER TABLE statuses ADD PRIMARY KEY (id)"
    yield f"CREATE INDEX {INDEX} ON statuses (uri)"

    # A group's rows have the same account in one group of four: their favourites collide.
    step = _step(shape)
    whose = f"CASE WHEN k / {step} % 4 = 0 THEN k ELSE t END"
    yield (
        "CREATE TABLE favourites (id bigint NOT NULL, status_id bigint NOT NULL,"
        " account_id bigint NOT NULL, created_at timestamp NOT NULL,"
        " updated_at timestamp NOT NULL)"
    )
    yield (
        f"INSERT INTO favourites SELECT n, {_id('t')}, {_account(f'({whose})', shape)}, {time}"
        f" FROM (SELECT n, t, {_key('t', shape)} AS k"
        f" FROM (SELECT n, {_target('favourites', shape)} AS t FROM {numbers}) q) r"
    )
    yield "ALTER TABLE favourites ADD PRIMARY KEY (id)"
    yield (
        "CREATE UNIQUE INDEX index_favourites_on_account_id_and_status_id"
        " ON favourites (account_id, status_id)"
    )
    yield "CREATE INDEX index_favourites_on_status_id ON favourites (status_id)"

    yield (
        "CREATE TABLE media (id bigint NOT NULL, status_id bigint, file varchar NOT NULL,"
        " updated_at timestamp NOT NULL)"
    )
    yield (
        f"INSERT INTO media SELECT n, {_id('t')}, 'media-' || n || '.jpeg', timestamp '2024-05-01'"
        f" FROM (SELECT n, {_target('media', shape)} AS t FROM {numbers}) r"
    )
    yield "ALTER TABLE media ADD PRIMARY KEY (id)"

    yield (
        "CREATE TABLE reports (id bigint NOT NULL, target_type varchar NOT NULL,"
        " target_id bigint NOT NULL, comment text NOT NULL, updated_at timestamp NOT NULL)"
    )
    yield (
        "INSERT INTO reports SELECT n,"
        " CASE WHEN n * 7919 % 1000 < 250 THEN 'Account' ELSE 'Status' END,"
        f" {_id('t')}, 'report ' || n, timestamp '2024-05-01'"
        f" FROM (SELECT n, {_target('reports', shape)} AS t FROM {numbers}) r"
    )
    yield "ALTER TABLE reports ADD PRIMARY KEY (id)"
    yield (
        "CREATE INDEX index_reports_on_target_type_and_target_id"
        " ON reports (target_type, target_id)"
    )
    for table, action in (("favourites", "CASCADE"), ("media", "SET NULL")):
        yield (
            f"ALTER TABLE {table} ADD FOREIGN KEY (status_id) REFERENCES statuses"
            f" ON DELETE {action}"
        )


def _id(number: str) -> str:
    return f"((({_EPOCH} + ({number}) * {_STEP}) << 16) + (({number}) * 40503 & 65535))"


def _account(number: str, shape: Shape) -> str:
    return f"(1 + {number} * 48271 % {shape.accounts})"


def _step(shape: Shape) -> int:
    """Return how far apart the rows are that are in a group."""
    return shape.rows // (2 * shape.groups)


def _key(number: str, shape: Shape) -> str:
    """Return the number of the row whose uri a row has.

    Groups are spread over the whole table: their first rows over its first half, and the
    surplus rows over the second, in another order.
    """
    step, groups = _step(shape), shape.groups
    stride = _coprime(_TWIN_STRIDE, groups)
    return (
        f"CASE WHEN {number} % {step} = 0 AND {number} / {step} BETWEEN {groups + 1}"
        f" AND {2 * groups}"
        f" THEN (({number} / {step} - {groups}) * {stride} % {groups} + 1) * {step}"
        f" ELSE {number} END"
    )


def _target(table: str, shape: Shape) -> str:
    """Return the number of the row of statuses that row ``n`` of a table refers to."""
    return f"(1 + n * {_coprime(_STRIDES[table], shape.rows)} % {shape.rows})"


def _coprime(stride: int, size: int) -> int:
    while math.gcd(stride, size) > 1:
        stride += 2
    return stride
