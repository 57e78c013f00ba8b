"""Synthetic tables in Mastodon's shape, of any size, whose duplicates are known.

The rows are made on the server from their numbers, so that tens of millions
take minutes; the same shape and seed give the same rows everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from ..errors import LabError
from . import planted
from .damage import Damage, damage, mark_unique
from .mastodon import CHILDREN, KEYED, STATUSES, Child, Keyed
from .planted import Groups, Planted, id_sql, mixed_sql

Connection = psycopg.Connection[tuple[Any, ...]]

MEMBERS = "pgmend_lab_members"
#: kinds that hide one more row of a key at most, and not of every key
CHANCY = frozenset({Damage.FLIPPED_ORDER, Damage.SWAPPED_COMPARATOR})
#: a row count's stride through another table: prime, so that it meets every row
STRIDES = (15_485_863, 15_485_867)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How many rows each table gets, and what is wrong with them."""

    accounts: int = 1_000
    conversations: int = 3_000
    statuses: int = 10_000
    mentions: int = 3_000
    favourites: int = 5_000
    follows: int = 3_000
    status_stats: int = 5_000
    seed: int = 1
    #: share of the rows of accounts, conversations and statuses that have a twin
    duplicate_rate: float = 0.01
    #: sizes of the groups, taken in turn
    group_sizes: tuple[int, ...] = (2, 2, 2, 3, 5)
    #: rows of one more, enormous group of statuses; 0 for none
    largest_group: int = 0
    #: share of the other conversations and statuses that have no uri, in steps of 0.001
    null_share: float = 0.1

    def __post_init__(self) -> None:
        """Raise ValueError where the pairs of a child table would not be distinct."""
        for child in CHILDREN:
            first, second = child.of
            others = 1 if second is None else getattr(self, second) - (first == second)
            if getattr(self, child.name) > getattr(self, first) * others:
                raise ValueError(f"there are not so many different {child.name}")
        if min(self.accounts, self.conversations, self.statuses) < 1:
            raise ValueError("accounts, conversations and statuses have rows")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What was built, and what is to be found in it."""

    #: rows of every table, by its name
    rows: Mapping[str, int]
    #: what was planted, by the unique index's name
    indexes: Mapping[str, Planted]


def build(dsn: str, shape: Shape | None = None, kind: Damage = Damage.INDEXED_TWICE) -> Manifest:
    """Build all tables in an empty database and damage their unique indexes.

    Under LOST_ENTRIES the duplicates stand at the heap's end, since they came
    later; otherwise all over it. Every foreign key holds, and children point at
    duplicates, too. Raises LabError, also for the kinds that only ``damage``
    brings about: FLIPPED_ORDER and SWAPPED_COMPARATOR.
    """
    shape = shape or Shape()
    indexes: dict[str, Planted] = {}
    for table in KEYED:
        groups = planted.plan(
            getattr(shape, table.name),
            seed=shape.seed + len(indexes),
            duplicate_rate=shape.duplicate_rate,
            group_sizes=shape.group_sizes,
            largest_group=shape.largest_group if table is STATUSES else 0,
        )
        indexes[table.index] = _build(dsn, table, groups, shape, kind, unlogged=False)
        _execute(dsn, *_references(table))
    for child in CHILDREN:
        _execute(dsn, *_child(child, shape), *_references(child))
    names = [field.name for field in fields(Shape) if field.name in {t.name for t in _ALL}]
    return Manifest(rows={name: getattr(shape, name) for name in names}, indexes=indexes)


def build_statuses(
    dsn: str,
    rows: int,
    *,
    seed: int = 1,
    duplicate_rate: float = 0.001,
    group_sizes: Sequence[int] = (2, 2, 2, 3, 5),
    largest_group: int = 0,
    null_share: float = 0.1,
    kind: Damage = Damage.INDEXED_TWICE,
    unlogged: bool = False,
) -> Manifest:
    """Build the table statuses alone, without foreign keys: about 250 bytes a row.

    The parameters are those of Shape. Raises LabError.
    """
    shape = Shape(
        accounts=max(100, rows // 100),
        conversations=max(100, rows // 3),
        statuses=rows,
        mentions=0,
        favourites=0,
        follows=0,
        status_stats=0,
        seed=seed,
        null_share=null_share,
    )
    groups = planted.plan(
        rows,
        seed=seed,
        duplicate_rate=duplicate_rate,
        group_sizes=group_sizes,
        largest_group=largest_group,
    )
    found = _build(dsn, STATUSES, groups, shape, kind, unlogged=unlogged)
    return Manifest(rows={STATUSES.name: rows}, indexes={STATUSES.index: found})


def build_favourites(dsn: str) -> int:
    """Build favourites of statuses that exist: some of every tenth row and of all duplicates.

    The foreign key is ON DELETE CASCADE, and each account favours a status once. Returns
    the number of rows. Every key with several rows has an account that favours two of
    them, so that re-pointing makes these favourites equal. Raises LabError.
    """
    _execute(
        dsn,
        "CREATE TABLE favourites (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
        " status_id bigint NOT NULL,"
        " account_id bigint NOT NULL, created_at timestamp NOT NULL DEFAULT '2024-05-01',"
        " UNIQUE (account_id, status_id))",
        "SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off;"
        " WITH s AS (SELECT id, row_number() OVER (PARTITION BY uri ORDER BY id) AS n,"
        " count(*) OVER (PARTITION BY uri) AS size FROM statuses WHERE uri IS NOT NULL)"
        " INSERT INTO favourites (status_id, account_id)"
        " SELECT id, account FROM s CROSS JOIN generate_series(1, 3) account"
        " WHERE size > 1 AND (account = 1 OR n % 2 = account % 2)"
        " UNION ALL SELECT id, id % 1000 FROM s WHERE size = 1 AND id % 10 = 0",
        "RESET enable_indexscan; RESET enable_indexonlyscan; RESET enable_bitmapscan",
        "CREATE INDEX ON favourites (status_id)",
        # Behind the rows: its check of each of them would read all of statuses.
        "ALTER TABLE favourites ADD FOREIGN KEY (status_id) REFERENCES statuses ON DELETE CASCADE",
        "ANALYZE favourites",
    )
    with psycopg.connect(dsn) as connection:
        (rows,) = connection.execute("SELECT count(*) FROM favourites").fetchone() or (0,)
    return int(rows)


def _build(
    dsn: str, table: Keyed, groups: Groups, shape: Shape, kind: Damage, *, unlogged: bool
) -> Planted:
    rows = getattr(shape, table.name)
    permille = round(shape.null_share * 1000) if table.nullable else 0
    insert = _insert(table, groups, shape, permille)
    if kind in CHANCY:
        raise LabError(
            f"no tables are built with {kind}, which hides few rows and by chance",
            hint="Build them sound and call damage() with rows of your own.",
        )
    late = kind is Damage.LOST_ENTRIES
    persistence = "UNLOGGED " if unlogged else ""
    _members(dsn, groups)
    try:
        _execute(
            dsn,
            f"CREATE {persistence}TABLE {table.name} ({table.columns})",
            f"{insert} WHERE k IS NULL OR k = n" if late else insert,
            f"ALTER TABLE {table.name} ADD PRIMARY KEY (id)",
            f"CREATE {'UNIQUE ' if late else ''}INDEX {table.index} ON {table.name} {table.on}",
        )
        if late:
            damage(dsn, table.index, kind, [f"{insert} WHERE k <> n"])
        else:
            mark_unique(dsn, table.index)
            if kind is not Damage.INDEXED_TWICE:
                damage(dsn, table.index, kind)
    finally:
        _execute(dsn, f"DROP TABLE IF EXISTS {MEMBERS}")
    _vacuum(dsn, table.name)
    return Planted(
        table=table.name,
        index=table.index,
        rows=rows,
        null_rows=planted.null_rows(groups, rows, seed=shape.seed, permille=permille),
        groups=groups,
    )


def _insert(table: Keyed, groups: Groups, shape: Shape, permille: int) -> str:
    """Return the statement that makes all rows; a condition on n and k may follow."""
    values = table.values.format(
        seed=shape.seed, accounts=shape.accounts, conversations=shape.conversations
    )
    large = groups.large_sql("n")
    # A set-returning function in FROM would be written to disk first.
    return (
        f"INSERT INTO {table.name} SELECT {values} FROM (SELECT n, CASE"
        f" WHEN m.leader IS NOT NULL THEN m.leader WHEN {large} THEN {groups.large.start}"
        f" WHEN {mixed_sql('n', shape.seed)} < {permille} THEN NULL ELSE n END AS k"
        f" FROM (SELECT generate_series(1::bigint, {getattr(shape, table.name)}) AS n) s"
        f" LEFT JOIN {MEMBERS} m USING (n)) r"
    )


def _members(dsn: str, groups: Groups) -> None:
    """Bring the groups' row numbers and leaders to the server; the enormous one is a formula."""
    try:
        with psycopg.connect(dsn) as connection:
            connection.execute(
                f"CREATE UNLOGGED TABLE {MEMBERS} (n bigint NOT NULL, leader bigint NOT NULL)"
            )
            with connection.cursor().copy(
                f"COPY {MEMBERS} FROM STDIN (FORMAT binary)"
            ) as copy:
                copy.write(b"PGCOPY\n\xff\r\n\x00" + bytes(8))
                layout = [("f", ">i2"), ("a", ">i4"), ("n", ">i8"), ("b", ">i4"), ("l", ">i8")]
                records = np.empty(len(groups.flat), dtype=layout)
                records["f"], records["a"], records["b"] = 2, 8, 8
                records["n"], records["l"] = groups.flat, groups.leaders()
                copy.write(records.tobytes())
                copy.write(b"\xff\xff")
            connection.execute(f"ANALYZE {MEMBERS}")
    except psycopg.Error as error:
        raise LabError(f"the rows could not be planned: {str(error).strip()}") from error


def _child(child: Child, shape: Shape) -> Sequence[str]:
    """Return the statements that make a table of distinct pairs, spread over both parents."""
    first, second = child.of
    size = getattr(shape, first)
    stride = next(stride for stride in STRIDES if size % stride)
    number = f"(1 + n * {stride} % {size})"
    turn = f"((n - 1) / {size})"
    other = "NULL"
    if second is not None:
        # An account's own number is never in turn for it.
        spread = 1 if first == second else 48271
        other = id_sql(f"1 + ({turn} + {number} * {spread}) % {getattr(shape, second)}")
    values = child.values.format(first=id_sql(number), second=other)
    rows = f"SELECT generate_series(1::bigint, {getattr(shape, child.name)}) AS n"
    name = f"index_{child.name}_on_{child.unique.replace(', ', '_and_')}"
    return [
        f"CREATE TABLE {child.name} ({child.columns})",
        f"INSERT INTO {child.name} SELECT {values} FROM ({rows}) s",
        f"ALTER TABLE {child.name} ADD PRIMARY KEY (id)",
        f"CREATE UNIQUE INDEX {name} ON {child.name} ({child.unique})",
    ]


def _references(table: Keyed | Child) -> list[str]:
    return [f"ALTER TABLE {table.name} ADD FOREIGN KEY {what}" for what in table.references]


_ALL: tuple[Keyed | Child, ...] = (*KEYED, *CHILDREN)


def _execute(dsn: str, *statements: str) -> None:
    try:
        with psycopg.connect(dsn) as connection:
            connection.execute("SET work_mem = '256MB'; SET maintenance_work_mem = '1GB'")
            for statement in statements:
                connection.execute(sql.SQL(statement))
    except psycopg.Error as error:
        raise LabError(f"the tables could not be built: {str(error).strip()}") from error


def _vacuum(dsn: str, table: str) -> None:
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(sql.SQL(f"VACUUM (ANALYZE) {table}"))
    except psycopg.Error as error:
        raise LabError(f"{table} could not be vacuumed: {str(error).strip()}") from error
