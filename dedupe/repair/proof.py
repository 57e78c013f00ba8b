"""Indexes proved against their heap, before foreign-key checks and writes go by them.

An index that lost entries lets a check pass that must not, and one that is sorted by
another order finds a row for one session and none for the next.

Sources: https://www.postgresql.org/docs/current/amcheck.html,
https://www.postgresql.org/docs/current/catalog-pg-index.html,
https://www.postgresql.org/docs/current/sql-reindex.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ..errors import (
    DuplicatesLeft,
    LockNotAvailable,
    QueryFailed,
    UnknownObject,
    UnprovenIndex,
    UnreadableData,
)
from ..key.catalog import qualified
from ..scan.explain import check_plan
from ..scan.keyorder import amchecked
from ..session import PINNED, Session
from ..writer import Writer
from .rebuild import NOT_FOUND, rebuild

#: the index and nothing else answers, in its own order
_BY_INDEX: Mapping[str, str] = {
    "enable_indexscan": "on",
    "enable_indexonlyscan": "off",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_tidscan": "off",
    "enable_sort": "off",
    "enable_incremental_sort": "off",
}
_BY_HEAP = {name: PINNED[name] for name in PINNED if name.startswith("enable_")}
_NODES = {"Aggregate", "Subquery Scan", "WindowAgg", "Index Scan"}
_ONLY_NODES = {"Aggregate", "Subquery Scan", "WindowAgg", "Index Only Scan"}
_HEAP_NODES = {"Aggregate", "Tid Range Scan"}
_CANCELED = "57014"
_PROOFS_AT_A_TIME = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """One key column of an index, in SQL."""

    expression: str
    #: ``COLLATE …`` or nothing
    collate: str
    #: the operator that sorts it (``>`` for DESC), qualified
    before: str
    equal: str
    nulls_first: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Index:
    schema: str
    name: str
    kind: str
    method: str
    usable: bool
    table: str

    @property
    def label(self) -> str:
        """The qualified name for people."""
        return f"{self.schema}.{self.name}"


def prove(session: Session, index_oid: int) -> None:
    """Prove an index against its heap; of a partitioned index, those of all leaves.

    By amcheck where the role may call it (order, and an entry for every row), else by
    counting under one snapshot: the rows that the index gives in its own order, which
    must ascend, against the rows that a reading by address gives: as many, at the same
    addresses, and, but for expressions, with the same keys. Counting goes along the leaf
    pages, so it says nothing of the pages above them. Any btree index will do: unique or
    not, partial, over expressions.

    Reads the whole index and heap (in counting the heap twice, once in the index's order);
    ACCESS SHARE; no transaction may be open. Raises UnprovenIndex where the index
    disagrees, is invalid or of another kind, or where the server will not read by just
    this index; UnknownObject, PermissionDenied, LockNotAvailable.
    """
    index = _described(session, index_oid)
    if not index.usable:
        raise _unproven(index, "it is marked invalid")
    if index.method != "btree":
        raise _unproven(index, f"it is a {index.method} index, and only a btree can be proved")
    if index.kind == "I":
        for (leaf,) in session.rows(
            "SELECT relid::pg_catalog.oid::int8"
            " FROM pg_catalog.pg_partition_tree($1::oid::pg_catalog.regclass) WHERE isleaf"
            " AND relid::pg_catalog.oid OPERATOR(pg_catalog.<>) $1::oid ORDER BY 1",
            [index_oid],
        ):
            prove(session, leaf)
        return
    try:
        if not _by_amcheck(session, index_oid):
            _by_counting(session, index_oid, index)
    except UnreadableData as error:
        raise _unproven(index, error.message) from error


def prove_or_rebuild(
    writer: Writer,
    another: Callable[[], Session],
    oids: Sequence[int],
    stopped: Callable[[], bool],
    tell: Callable[[str], None],
    *,
    alone: bool,
) -> None:
    """Prove indexes, two at a time, and rebuild those that cannot be proved.

    ``another`` opens a session. A rebuild is ``rebuild.rebuild``: without blocking writers
    where PostgreSQL can, or the faster way (``alone``); ``tell`` hears why. No transaction may
    be open. When ``stopped`` says True no further proof is begun, and nothing is rebuilt. Raises
    DuplicatesLeft where rows violate one (nothing is left behind then), and what ``rebuild`` and
    ``prove`` raise.
    """
    found: dict[int, UnprovenIndex] = {}

    def proof(oid: int) -> None:
        if stopped():
            return
        with another() as session:
            try:
                prove(session, oid)
            except UnprovenIndex as error:
                found[oid] = error

    with ThreadPoolExecutor(_PROOFS_AT_A_TIME, thread_name_prefix="pgmend-proof") as pool:
        proofs = [pool.submit(proof, oid) for oid in oids]
        try:
            for each in proofs:
                each.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    for oid in oids:
        if oid not in found or stopped():
            continue
        tell(f"{found[oid].message}; it is rebuilt")
        index = _described(writer, oid)
        try:
            rebuild(writer, oid, tell, alone=alone)
        except DuplicatesLeft as error:
            raise DuplicatesLeft(
                error.message,
                hint=f"Scan and repair the key of {index.label} first.",
                **error.facts,
            ) from error


def _described(session: Session, index_oid: int) -> _Index:
    """Read what an index is; raises UnknownObject."""
    rows = session.rows(
        "SELECT n.nspname, c.relname, c.relkind::text, m.amname,"
        " i.indisvalid AND i.indisready AND i.indislive, s.nspname, t.relname"
        " FROM pg_catalog.pg_index i"
        " JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_catalog.pg_am m ON m.oid = c.relam"
        " JOIN pg_catalog.pg_class t ON t.oid = i.indrelid"
        " JOIN pg_catalog.pg_namespace s ON s.oid = t.relnamespace"
        " WHERE i.indexrelid = $1::oid",
        [index_oid],
    )
    if not rows:
        raise UnknownObject(
            f"there is no index with the oid {index_oid}", kind="index", name=str(index_oid)
        )
    schema, name, kind, method, usable, table_schema, table = rows[0]
    return _Index(
        schema=schema,
        name=name,
        kind=kind,
        method=method,
        usable=usable,
        table=qualified(table_schema, table),
    )


def _by_amcheck(session: Session, index_oid: int) -> bool:
    """Let amcheck decide; False where it is not there, not allowed or cannot."""
    try:
        return amchecked(session, index_oid)
    except (UnreadableData, LockNotAvailable):
        raise
    except QueryFailed as error:
        if error.facts.get("sqlstate") == _CANCELED:
            raise
        # A function of the key may not work under the pinned path; counting tries another.
        return False


def _by_counting(session: Session, index_oid: int, index: _Index) -> None:
    """Count under the pinned search path, or where that does not do, under the role's."""
    for path in ("", session.own_search_path):
        try:
            _count(session, index_oid, index, path)
        except (UnreadableData, LockNotAvailable):
            raise
        except QueryFailed as error:
            if error.facts.get("sqlstate") == _CANCELED:
                raise
            if not path and session.own_search_path and error.facts.get("sqlstate") in NOT_FOUND:
                continue
            raise _unproven(index, error.message) from error
        return


def _count(session: Session, index_oid: int, index: _Index, path: str) -> None:
    settings = {**_BY_INDEX, "search_path": path}
    with session.transaction(repeatable=True, settings=settings):
        columns, predicate = _columns(session, index_oid)
        addresses = _in_order(index, columns, predicate, "pg_catalog.hashtidextended(ctid, 0)")
        check_plan(session, addresses, [], _NODES, index.name)
        by_index = [session.row(addresses)]
        # What the entries themselves say can be asked where no expression is in the way:
        # an entry whose row went, and whose address another row took, shows only so.
        session.set_local({"enable_indexscan": "off", "enable_indexonlyscan": "on"})
        image = _image(columns)
        keys = _in_order(index, columns, predicate, image)
        try:
            check_plan(session, keys, [], _ONLY_NODES, index.name)
        except QueryFailed as error:
            if "nodes" not in error.facts:
                raise
            image = "0"
        else:
            by_index.append(session.row(keys))
        session.set_local(_BY_HEAP)
        by_heap = (
            "SELECT pg_catalog.count(*), coalesce(pg_catalog.sum("
            f"pg_catalog.hashtidextended(ctid, 0)), 0)::text, coalesce(pg_catalog.sum({image}),"
            f" 0)::text FROM ONLY {index.table}"
            " WHERE ctid OPERATOR(pg_catalog.>=) '(0,0)'::pg_catalog.tid"
            f"{f' AND ({predicate})' if predicate else ''}"
        )
        check_plan(session, by_heap, [], _HEAP_NODES)
        rows, *sums = session.row(by_heap)
    for (entries, told, unordered), expected in zip(by_index, sums, strict=False):
        if unordered:
            raise _unproven(index, f"{unordered} of its {entries} entries are out of order")
        if entries != rows:
            raise _unproven(index, f"it holds {entries} entries for {rows} rows")
        if told != expected:
            raise _unproven(index, "its entries are of other rows than the table holds")


def _in_order(index: _Index, columns: list[_Column], predicate: str | None, digest: str) -> str:
    """Write the query that counts the index's rows, sums a digest, and checks their order."""
    order = ", ".join(
        f"({c.expression}){c.collate} USING {c.before} NULLS {'FIRST' if c.nulls_first else 'LAST'}"
        for c in columns
    )
    values = ", ".join(
        f"{c.expression} AS now{n}, pg_catalog.lag({c.expression}) OVER w AS old{n}"
        for n, c in enumerate(columns)
    )
    return (
        "SELECT pg_catalog.count(*), coalesce(pg_catalog.sum(digest), 0)::text,"
        f" pg_catalog.count(*) FILTER (WHERE NOT ({_ascending(columns)}))"
        f" FROM (SELECT {digest} AS digest, pg_catalog.lag(true) OVER w AS earlier, {values}"
        f" FROM ONLY {index.table}{f' WHERE ({predicate})' if predicate else ''}"
        f" WINDOW w AS (ORDER BY {order}) OFFSET 0) AS s"
    )


def _image(columns: list[_Column]) -> str:
    """Write a 64-bit digest of what the key's values look like; any type can be written."""
    row = ", ".join(c.expression for c in columns)
    return f'pg_catalog.hashtextextended(ROW({row})::pg_catalog.text COLLATE pg_catalog."C", 0)'


def _columns(session: Session, index_oid: int) -> tuple[list[_Column], str | None]:
    """Read the key columns and the predicate, as they are written under the present path."""
    columns = [
        _Column(
            # A column's name stands as it is; an expression needs its parentheses.
            expression=text if plain else f"({text})",
            collate=f" COLLATE {qualified(*collation)}" if collation else "",
            before=greater if descending else less,
            equal=equal,
            nulls_first=nulls_first,
        )
        for text, plain, collation, less, equal, greater, descending, nulls_first in session.rows(
            """
            SELECT pg_catalog.pg_get_indexdef(i.indexrelid, k.n::int4, false), k.attnum <> 0,
                   (SELECT ARRAY[s.nspname::text, c.collname::text]
                    FROM pg_catalog.pg_collation c
                    JOIN pg_catalog.pg_namespace s ON s.oid = c.collnamespace
                    WHERE c.oid = i.indcollation[k.n - 1]),
                   o.names[1], o.names[2], o.names[3],
                   i.indoption[k.n - 1]::int4 & 1 <> 0, i.indoption[k.n - 1]::int4 & 2 <> 0
            FROM pg_catalog.pg_index i
            CROSS JOIN pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, n)
            CROSS JOIN LATERAL (
                SELECT pg_catalog.array_agg(
                           'OPERATOR(' || pg_catalog.quote_ident(s.nspname) || '.' || p.oprname
                           || ')' ORDER BY a.amopstrategy) AS names
                FROM pg_catalog.pg_opclass c
                JOIN pg_catalog.pg_amop a ON a.amopfamily = c.opcfamily
                 AND a.amoplefttype = c.opcintype AND a.amoprighttype = c.opcintype
                 AND a.amopstrategy IN (1, 3, 5)
                JOIN pg_catalog.pg_operator p ON p.oid = a.amopopr
                JOIN pg_catalog.pg_namespace s ON s.oid = p.oprnamespace
                WHERE c.oid = i.indclass[k.n - 1]) o
            WHERE i.indexrelid = $1::oid AND k.n <= i.indnkeyatts
            ORDER BY k.n
            """,
            [index_oid],
        )
    ]
    (predicate,) = session.row(
        "SELECT pg_catalog.pg_get_expr(indpred, indrelid) FROM pg_catalog.pg_index"
        " WHERE indexrelid = $1::oid",
        [index_oid],
    )
    return columns, predicate


def _ascending(columns: list[_Column]) -> str:
    """Write that the row does not lie before the one that the index gave earlier."""
    test = "true"
    for n, column in reversed(list(enumerate(columns))):
        old, now = f"old{n}", f"now{n}"
        # IS NULL holds of a composite value of nulls, which an index takes for a value.
        nulls = f"pg_catalog.num_nulls({old}, {now}) OPERATOR(pg_catalog.>) 0"
        rank = ">" if column.nulls_first else "<"
        earlier = (
            f"CASE WHEN {nulls} THEN pg_catalog.num_nulls({old})"
            f" OPERATOR(pg_catalog.{rank}) pg_catalog.num_nulls({now})"
            f" ELSE {old}{column.collate} {column.before} {now}{column.collate} END"
        )
        same = (
            f"CASE WHEN {nulls} THEN pg_catalog.num_nulls({old})"
            f" OPERATOR(pg_catalog.=) pg_catalog.num_nulls({now})"
            f" ELSE {old}{column.collate} {column.equal} {now}{column.collate} END"
        )
        test = f"({earlier} OR {same} AND {test})"
    return f"earlier IS NULL OR coalesce({test}, false)"


def _unproven(index: _Index, why: str) -> UnprovenIndex:
    return UnprovenIndex(
        f"the index {index.label} could not be proved: {why}",
        hint=f"REINDEX INDEX CONCURRENTLY {qualified(index.schema, index.name)} makes it true,"
        " unless it is a unique one and rows violate it; then scan and repair its key.",
        index=index.label,
    )
