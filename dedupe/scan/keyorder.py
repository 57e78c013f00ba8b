"""Key order: keyset over the primary key, for those who need it.

It reads through the primary key's index, so the index is proved against the heap
first, and refused where it cannot be. Then rows come in ranges ``(pk) > (last)``,
``(pk) <= (bound)`` of row values, whose ends are fixed before the range is read, so
that a range can be read again.

Only keys are taken whose order cannot change with a collation: an index is sorted by
the rules of its time, and the proof and the reading must agree with it.

Source: https://www.postgresql.org/docs/current/functions-comparisons.html#ROW-WISE-COMPARISON,
https://www.postgresql.org/docs/current/amcheck.html
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import LockNotAvailable, QueryFailed, UnprovenIndex, UnreadableData
from ..session import PINNED, Session
from ..table import Leaf, Table, quoted
from .checkpoint import Segment
from .chunk import ChunkReader, lost_row
from .explain import check_plan
from .pace import ChunkSize
from .packing import in_any_order
from .position import Step
from .records import Chunk, tid_address

#: ask the index and nothing else; without sorting, its order is the answer's
_BY_INDEX: Mapping[str, str] = {
    "enable_indexscan": "on",
    "enable_indexonlyscan": "on",
    "enable_tidscan": "off",
    "enable_sort": "off",
    "enable_incremental_sort": "off",
}
_BY_HEAP = {name: PINNED[name] for name in ("enable_indexscan", "enable_indexonlyscan")} | {
    "enable_tidscan": "on"
}
_NODES = {"Aggregate", "Subquery Scan", "Limit", "Index Scan", "Index Only Scan", "WindowAgg"}
_COUNT_NODES = {"Aggregate", "Tid Range Scan"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _PrimaryKey:
    """How the primary key of one leaf is written in SQL."""

    #: quoted columns
    columns: tuple[str, ...]
    #: their types by qualified name, which says no length: nothing is cut
    types: tuple[str, ...]
    #: qualified name of the index, for people
    index: str
    #: its bare name
    index_name: str
    #: its file number; another one is another index
    filenode: int

    @property
    def row(self) -> str:
        """The row value."""
        return f"({', '.join(self.columns)})"

    def given(self, first: int) -> str:
        """Write a row value of parameters from number ``first`` on."""
        return "({})".format(
            ", ".join(f"${first + n}::{name}" for n, name in enumerate(self.types))
        )

    @property
    def texts(self) -> str:
        """The columns as texts that their types read back."""
        return ", ".join(f"pg_catalog.format('%s', {column})" for column in self.columns)

    @property
    def sorted(self) -> str:
        """The columns for ORDER BY."""
        return ", ".join(self.columns)


class KeyOrder:
    """Keyset over the primary key of each leaf; made by ``prove``."""

    def __init__(
        self, reader: ChunkReader, keys: Mapping[int, _PrimaryKey], proved: Mapping[str, int]
    ) -> None:
        self._reader = reader
        self._keys = keys
        #: the indexes that the order relies on, oid as text to file number
        self.proved = proved

    @classmethod
    def prove(
        cls, session: Session, table: Table, reader: ChunkReader, proved: Mapping[str, int]
    ) -> KeyOrder:
        """Prove the primary key's index of every leaf against its heap.

        By amcheck where the role may call it, else by counting: the index in its own
        order and the heap by address, under one snapshot. Reads every heap once, but
        for the indexes in ``proved`` (oid as text, file number), which an earlier
        session of the run has proved. ACCESS SHARE. Raises UnprovenIndex.
        """
        keys, seen = {}, {}
        for leaf in table.leaves:
            key = keys[leaf.number] = _described(session, leaf)
            if proved.get(str(leaf.pk_index)) != key.filenode and not _checked_by_amcheck(
                session, leaf, key
            ):
                _count(session, leaf, key)
            seen[str(leaf.pk_index)] = key.filenode
        return cls(reader, keys, seen)

    def step(
        self, session: Session, leaf: Leaf, _segment: Segment, position: str, size: ChunkSize, /
    ) -> Step:
        """Read the rows of the next keys, as many as so many blocks would hold."""
        key = self._keys[leaf.number]
        last: list[str] = json.loads(position)
        a_block = max(1.0, min(leaf.rows_estimate / max(1, leaf.blocks), leaf.block_rows))
        rows = max(1, min(size.rows, int(size.blocks * a_block)))
        started = time.monotonic()
        try:
            bound = self._bound(session, leaf, key, last, rows - 1)
            chunk = self._read(session, leaf, key, last, bound)
        except UnreadableData:
            chunk, bound = self._readable_part(session, leaf, key, last, rows)
        if bound is not None and bound == last:
            raise QueryFailed(
                f"the primary key {key.index} does not get on from {last}: its text does not"
                " read back as the same value",
                hint="Begin again with --order physical --fresh.",
            )
        blocks = max(1, round(chunk.rows / a_block))
        size.learn(blocks, chunk.rows, time.monotonic() - started)
        return Step(
            chunk=chunk, next=None if bound is None else json.dumps(bound), blocks=blocks
        )

    def _bound(
        self, session: Session, leaf: Leaf, key: _PrimaryKey, last: Sequence[str], skip: int
    ) -> list[str] | None:
        """Return the key that ``skip`` keys lie before; None: there is none."""
        query = (
            f"SELECT {key.texts} FROM ONLY {leaf.sql} {_after(key, last)}"
            f" ORDER BY {key.sorted} OFFSET {skip} LIMIT 1"
        )
        with session.transaction(settings=_BY_INDEX):
            _check_plan(session, leaf, key, query, last)
            rows = session.rows(query, last)
        return list(rows[0]) if rows else None

    def _read(
        self,
        session: Session,
        leaf: Leaf,
        key: _PrimaryKey,
        last: Sequence[str],
        bound: Sequence[str] | None,
    ) -> Chunk:
        tests = []
        if last:
            tests.append(f"{key.row} OPERATOR(pg_catalog.>) {key.given(1)}")
        if bound is not None:
            tests.append(f"{key.row} OPERATOR(pg_catalog.<=) {key.given(1 + len(last))}")
        where = f"WHERE {' AND '.join(tests)} " if tests else ""
        layout = self._reader.layout(leaf)
        query = self._reader.statement(
            leaf,
            f"(SELECT ctid, * FROM ONLY {leaf.sql} {where}ORDER BY {key.sorted} OFFSET 0) AS r",
            in_any_order,
            layout,
        )
        params = [*last, *(bound or ())]
        path = {"search_path": self._reader.search_path}
        with session.transaction(settings={**_BY_INDEX, **path}):
            _check_plan(session, leaf, key, query, params)
            return self._reader.decode(leaf, session.packed_row(query, params), layout)

    def _readable_part(
        self, session: Session, leaf: Leaf, key: _PrimaryKey, last: list[str], rows: int
    ) -> tuple[Chunk, list[str] | None]:
        """Read a smaller part of a stretch with damage in it, or report its first row."""
        while rows > 1:
            rows = (rows + 1) // 2
            try:
                bound = self._bound(session, leaf, key, last, rows - 1)
                return self._read(session, leaf, key, last, bound), bound
            except UnreadableData as error:
                if rows == 1:
                    return self._lost(session, leaf, key, last, error)
        try:
            bound = self._bound(session, leaf, key, last, 0)
            return self._read(session, leaf, key, last, bound), bound
        except UnreadableData as error:
            return self._lost(session, leaf, key, last, error)

    def _lost(
        self,
        session: Session,
        leaf: Leaf,
        key: _PrimaryKey,
        last: Sequence[str],
        error: UnreadableData,
    ) -> tuple[Chunk, list[str] | None]:
        """Report the row of the next key, which cannot be read, and step over it."""
        try:
            with session.transaction(settings=_BY_INDEX):
                (ctid, *texts) = session.row(
                    f"SELECT ctid::pg_catalog.text, {key.texts} FROM ONLY {leaf.sql}"
                    f" {_after(key, last)} ORDER BY {key.sorted} LIMIT 1",
                    last,
                )
        except UnreadableData as page:
            # Not the row but its page or the index's: nothing says where to go on.
            raise _refused(leaf, key.index, page.message) from page
        return lost_row(self._reader.keys, leaf, tid_address(ctid), error), texts


def leaf_segments(leaves: Sequence[Leaf]) -> list[Segment]:
    """Make one segment a leaf: where a key lies between two others is not known before."""
    return [
        Segment(
            number=leaf.number, leaf=leaf.number, low="[]", high=None, next="[]", blocks=leaf.blocks
        )
        for leaf in leaves
    ]


def _after(key: _PrimaryKey, last: Sequence[str]) -> str:
    return f"WHERE {key.row} OPERATOR(pg_catalog.>) {key.given(1)}" if last else ""


def _described(session: Session, leaf: Leaf) -> _PrimaryKey:
    """Read the primary key; raises UnprovenIndex where keyset cannot be trusted over it."""
    if leaf.pk_index is None:
        raise _refused(leaf, "", "it has no primary key")
    columns = session.rows(
        """
        SELECT k.attname::text, pg_catalog.quote_ident(tn.nspname) || '.'
               || pg_catalog.quote_ident(t.typname),
               c.collname IS NULL OR c.collname IN ('C', 'POSIX') AND c.collnamespace
                   OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace,
               o.opcdefault AND n.nspname = 'pg_catalog' AND i.indoption[p.n - 1] = 0,
               pg_catalog.quote_ident(s.nspname) || '.' || pg_catalog.quote_ident(x.relname),
               x.relname, pg_catalog.pg_relation_filenode(x.oid)::int8,
               pg_catalog.format_type(k.atttypid, NULL)
        FROM pg_catalog.pg_index i
        JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
        JOIN pg_catalog.pg_namespace s ON s.oid = x.relnamespace
        CROSS JOIN pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY p (attnum, n)
        JOIN pg_catalog.pg_attribute k ON k.attrelid = i.indrelid AND k.attnum = p.attnum
        JOIN pg_catalog.pg_type t ON t.oid = k.atttypid
        JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
        JOIN pg_catalog.pg_opclass o ON o.oid = i.indclass[p.n - 1]
        JOIN pg_catalog.pg_namespace n ON n.oid = o.opcnamespace
        LEFT JOIN pg_catalog.pg_collation c ON c.oid = i.indcollation[p.n - 1]
        WHERE i.indexrelid = $1::oid AND p.n <= i.indnkeyatts
        ORDER BY p.n
        """,
        [leaf.pk_index],
    )
    index = columns[0][4]
    for name, _, steady, plain, *_, display in columns:
        if not steady:
            raise _refused(leaf, index, f"the order of column {name} ({display}) is a collation's")
        if not plain:
            raise _refused(leaf, index, f"column {name} ({display}) has an order of its own")
    return _PrimaryKey(
        columns=tuple(quoted(name) for name, *_ in columns),
        types=tuple(type_sql for _, type_sql, *_ in columns),
        index=index,
        index_name=columns[0][5],
        filenode=columns[0][6],
    )


def amcheck_schema(session: Session) -> str | None:
    """Return the quoted name of amcheck's schema; None where it is not there or not allowed."""
    found = session.rows(
        "SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_extension e"
        " JOIN pg_catalog.pg_proc p ON p.pronamespace = e.extnamespace"
        " AND p.proname = 'bt_index_check'"
        " AND pg_catalog.oidvectortypes(p.proargtypes) = 'regclass, boolean'"
        " JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace"
        " WHERE e.extname = 'amcheck'"
        " AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE')"
        " AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')"
    )
    return found[0][0] if found else None


def amchecked(session: Session, index_oid: int) -> bool:
    """Let amcheck compare an index and its heap; False where it is not there or not allowed.

    Raises UnreadableData where it finds damage, QueryFailed where it cannot check.
    """
    schema = amcheck_schema(session)
    if schema is None:
        return False
    with session.transaction():
        session.rows(
            f"SELECT {schema}.bt_index_check($1::oid::pg_catalog.regclass, true)",
            [index_oid],
        )
    return True


def _checked_by_amcheck(session: Session, leaf: Leaf, key: _PrimaryKey) -> bool:
    try:
        # A leaf without a primary key was refused before.
        return amchecked(session, leaf.pk_index or 0)
    except UnreadableData as error:
        raise _refused(leaf, key.index, f"amcheck finds it damaged: {error.message}") from error
    except QueryFailed as error:
        if isinstance(error, LockNotAvailable) or error.sqlstate == "57014":
            raise
        raise _refused(leaf, key.index, f"amcheck cannot check it: {error.message}") from error


def _check_plan(
    session: Session, leaf: Leaf, key: _PrimaryKey, query: str, params: Sequence[object]
) -> None:
    """Raise UnprovenIndex unless the server answers ``query`` by the proved index alone."""
    try:
        check_plan(session, query, params, _NODES, key.index_name)
    except QueryFailed as error:
        if "nodes" not in error.facts:
            raise
        raise _refused(leaf, key.index, error.message) from error


def _count(session: Session, leaf: Leaf, key: _PrimaryKey) -> None:
    """Count heap and index under one snapshot; the index in its own order, which must ascend."""
    by_index = (
        f"SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE NOT coalesce("
        f"before OPERATOR(pg_catalog.<) now, true)) FROM (SELECT ROW{key.row} AS now,"
        f" pg_catalog.lag(ROW{key.row}) OVER (ORDER BY {key.sorted}) AS before"
        f" FROM ONLY {leaf.sql} OFFSET 0) AS s"
    )
    by_heap = (
        f"SELECT pg_catalog.count(*) FROM ONLY {leaf.sql}"
        " WHERE ctid OPERATOR(pg_catalog.>=) '(0,0)'::pg_catalog.tid"
    )
    try:
        with session.transaction(repeatable=True, settings=_BY_INDEX):
            _check_plan(session, leaf, key, by_index, [])
            entries, unordered = session.row(by_index)
            session.set_local(_BY_HEAP)
            check_plan(session, by_heap, [], _COUNT_NODES)
            (rows,) = session.row(by_heap)
    except UnreadableData as error:
        raise _refused(leaf, key.index, error.message) from error
    if entries != rows or unordered:
        raise _refused(
            leaf, key.index,
            f"it holds {entries} entries for {rows} rows, {unordered} of them out of order",
        )


def _refused(leaf: Leaf, index: str, why: str) -> UnprovenIndex:
    what = f"its primary key {index}" if index else "it"
    return UnprovenIndex(
        f"{leaf.label} cannot be read in key order, because {what} could not be trusted: {why}",
        hint="Begin again with --order physical --fresh: it trusts no index.",
        index=index or None,
    )
