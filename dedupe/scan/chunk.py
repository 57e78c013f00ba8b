"""One chunk: a range of a heap read into digests and addresses by one statement.

The server answers with a single row: how many rows the range holds and, for each
key, how many of them take part (no NULL, the predicate true) and one ``bytea`` of
14-byte records, ``tid`` and digest as their types send them. A row that got lost
between the two counts is an error, not a silence. Keys that every row takes part in
share their addresses: of all but one of them only the digests come, two keys to one
``bytea``, for as long as none of them meets a NULL.

Locks: ACCESS SHARE on the leaf for the statement. Memory: the answer, bounded by
the caller's choice of range.

Source: https://www.postgresql.org/docs/current/ddl-system-columns.html (ctid, xmin)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import QueryFailed, UnreadableData
from ..key import ResolvedKey
from ..session import Session
from ..table import Leaf
from .checkpoint import UnreadableRow
from .explain import check_plan
from .history import HISTORY
from .identity import rewritten
from .packing import (
    Layout,
    Packing,
    answer,
    digests_alone,
    few_in_heap_order,
    in_heap_order,
    is_plain,
)
from .records import (
    LEAF_SHIFT,
    NOTHING,
    OFFSET_BITS,
    WIRE_BYTES,
    Chunk,
    KeyRecords,
    digests_of,
    joined,
    records_of,
    tid_text,
)
from .spill import Words, mix

#: keys of plain columns from which an address is better sent once for all of them
_MANY_KEYS = 3
#: share of rows that do not take part in a key from which each row is looked at for that first
_SPARSE = 0.2
#: more line pointers than any page of 32 kB holds
_OFFSETS = 2048

_PLAN_NODES = {"Aggregate", "Limit", "Subquery Scan", "Tid Range Scan"}


class TooManyRows(Exception):
    """A range holds more rows than its reader may take at a time."""


class _NotWhole(Exception):
    """A row takes no part in one of the keys that share their addresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Range:
    """What is to be read: see ``ChunkReader.read``."""

    leaf: Leaf
    low: int
    high: int | None
    snapshot: str | None
    most: int | None


def covers(key: ResolvedKey, leaf: Leaf) -> bool:
    """Tell whether the rows of ``leaf`` belong to the table of ``key``."""
    return key.table_oid in leaf.lineage


def shared_search_path(keys: Sequence[ResolvedKey]) -> str:
    """Return the one search path that every key can be read under.

    A key read under the empty path has every name qualified, so it means the
    same under the role's own path, which the other keys need.
    """
    return next((key.search_path for key in keys if key.search_path), "")


class ChunkReader:
    """Reads ranges of the leaves of one table for the keys of one run."""

    def __init__(self, keys: Sequence[ResolvedKey], *, horizon: int | None = None) -> None:
        """Prepare the statement for ``keys``.

        With ``horizon`` (an xid8) only the rows are read that were written by it
        or later: the sweep.
        """
        #: the keys, in the order of a chunk's records
        self.keys = tuple(keys)
        self._horizon = horizon
        self._checked: set[int] = set()
        # What the last chunk of any worker told; a statement is right either way.
        self._sparse: frozenset[int] = frozenset()
        # Keys that every row took part in so far; it only shrinks, but for two workers that
        # take from it at once.
        self._whole = frozenset(range(len(self.keys)))
        #: the path that the key expressions are read under
        self.search_path = shared_search_path(keys)

    def statement(
        self, leaf: Leaf, source: str, packing: Packing, layout: Layout, most: int | None = None
    ) -> str:
        """Write the statement over rows of ``leaf``.

        ``source`` stands behind FROM and gives ``ctid`` and all columns; ``packing`` is
        how the records are put into one value. Keys may share addresses only where the
        rows come in the order of the heap. Where there are more rows than ``most``, they
        are counted and nothing else.
        """
        shared = [place for places in layout.sharing for place in places]
        operands = {
            place: [column.expression for column in self.keys[place].columns]
            for place in (*layout.apart, *shared)
        }
        in_heap = {place: self.keys[place].digest(operands[place]) for place in shared}
        # A predicate may end in a comment.
        parts = {
            place: None if (part := self.keys[place].condition) is None else f"({part}\n)"
            for place in layout.apart
        }
        tests = {
            place: self.keys[place].takes_part(operands[place], part)
            for place, part in parts.items()
        }
        address = "ctid", "pg_catalog.tidsend(ctid)"
        rows = source
        if len(layout.apart) >= _MANY_KEYS or not all(
            is_plain(self.keys[place]) for place in layout.apart
        ):
            # Each expression, and the address as it is sent, is computed once and used in
            # several places; OFFSET 0 keeps the planner from putting it back into them. Few
            # plain columns are cheaper without it.
            columns = ["ctid AS tid", "pg_catalog.tidsend(ctid) AS sent"]
            for place, texts in operands.items():
                columns += [f"{text} AS k{place}_{n}" for n, text in enumerate(texts)]
                operands[place] = [f"k{place}_{n}" for n in range(len(texts))]
                if (part := parts.get(place)) is not None:
                    columns.append(f"{part} AS p{place}")
                    parts[place] = f"p{place}"
            source = f"(SELECT {', '.join(columns)} FROM {source} OFFSET 0) AS s"
            address = "tid", "sent"
        answers = [
            answer(
                self.keys[place],
                operands[place],
                parts[place],
                address,
                tests[place],
                packing,
                sparse=place in self._sparse,
                rows=rows,
                most=most,
            )
            for place in layout.apart
        ]
        for places in layout.sharing:
            digests = [self.keys[place].digest(operands[place]) for place in places]
            answers.append(
                digests_alone(rows, most, [in_heap[place] for place in places], digests)
            )
        return (
            f"SELECT pg_catalog.pg_relation_filenode({leaf.oid}::pg_catalog.oid)::pg_catalog.int8,"
            f" {HISTORY}, pg_catalog.count(*), {', '.join(answers)}\nFROM {source}"
        )

    def layout(self, leaf: Leaf) -> Layout:
        """Return the layout in which each key that covers ``leaf`` has its own addresses."""
        return Layout(
            apart=tuple(place for place, key in enumerate(self.keys) if covers(key, leaf))
        )

    def _range(self, leaf: Leaf, *, bounded: bool) -> str:
        """Pick rows by address: ``$1`` is the first ctid, ``$2`` the one behind the last."""
        clause = f"ONLY {leaf.sql} WHERE ctid OPERATOR(pg_catalog.>=) $1::pg_catalog.tid"
        if bounded:
            clause += " AND ctid OPERATOR(pg_catalog.<) $2::pg_catalog.tid"
        if self._horizon is not None:
            # Nothing visible was written in the future: a negative age is that of a row
            # so old that its transaction number counts as new again.
            horizon = self._horizon & 0xFFFFFFFF
            clause += (
                " AND pg_catalog.age(xmin) OPERATOR(pg_catalog.<=)"
                f" pg_catalog.age('{horizon}'::pg_catalog.xid)"
                " AND pg_catalog.age(xmin) OPERATOR(pg_catalog.>=) 0"
            )
        return clause

    def read(
        self,
        session: Session,
        leaf: Leaf,
        low: int,
        high: int | None,
        *,
        snapshot: str | None = None,
        most: int | None = None,
    ) -> Chunk:
        """Read the rows of ``leaf`` from address ``low`` to before ``high`` (None: to the end).

        What the server cannot read for damage is narrowed down to rows or blocks,
        returned in ``unreadable``, and the rest is read. Raises RunMismatch when
        the table was rewritten since the run began, TooManyRows when the range holds
        more than ``most``: their records have not left the server then.
        """
        wanted = _Range(leaf=leaf, low=low, high=high, snapshot=snapshot, most=most)
        return self._readable(session, wanted)

    def _readable(self, session: Session, wanted: _Range) -> Chunk:
        try:
            return self._read(session, wanted)
        except UnreadableData as error:
            return self._around(session, wanted, error)

    def _read(self, session: Session, wanted: _Range) -> Chunk:
        layout = self.layout(wanted.leaf)
        if self._horizon is None:
            shared = Layout.shared(self.keys, layout.apart, self._whole)
            try:
                return self._ask(session, wanted, shared)
            except _NotWhole:
                # A NULL. What is read now tells in which of the keys.
                pass
        return self._ask(session, wanted, layout)

    def _ask(self, session: Session, wanted: _Range, layout: Layout) -> Chunk:
        leaf, high, most = wanted.leaf, wanted.high, wanted.most
        rows = self._range(leaf, bounded=high is not None)
        packing = in_heap_order if self._horizon is None else few_in_heap_order
        query = self.statement(leaf, rows, packing, layout, most)
        bounds = [tid_text(wanted.low)] + ([tid_text(high)] if high is not None else [])
        with session.transaction(
            snapshot=wanted.snapshot, settings={"search_path": self.search_path}
        ):
            if leaf.oid not in self._checked:
                check_plan(session, query, bounds, _PLAN_NODES)
                self._checked.add(leaf.oid)
            row = session.packed_row(query, bounds)
        if most is not None and row[2] > most:
            raise TooManyRows
        chunk = self.decode(leaf, row, layout)
        for place in layout.apart:
            # The others have the addresses of one of these.
            addresses = chunk.keys[place].addresses
            if np.any(addresses[1:] <= addresses[:-1]):
                raise QueryFailed(
                    f"the server did not read {leaf.label} in the order of its rows",
                    hint="Report this with the server's version and its settings (\\dconfig).",
                )
        return chunk

    def decode(self, leaf: Leaf, row: tuple[Any, ...], layout: Layout) -> Chunk:
        """Turn the server's row into arrays; raises RunMismatch, QueryFailed."""
        filenode, history, rows, *answers = row
        if filenode != leaf.filenode:
            raise rewritten(leaf.label, leaf.filenode, filenode)
        keys = [NOTHING] * len(self.keys)
        values = iter(answers)
        for place in layout.apart:
            key = self.keys[place]
            counted, first, packed = next(values), next(values), next(values)
            records, left_over = divmod(len(packed) + len(first or b""), WIRE_BYTES)
            if left_over or counted not in {None, records}:
                raise QueryFailed(
                    f"the server returned {records} records for {counted} rows of {leaf.label},"
                    f" key {key.name}",
                    hint="The key's expressions or its predicate are not immutable;"
                    " such a key cannot be scanned.",
                )
            digests, addresses = records_of(first, packed)
            addresses |= np.uint64(leaf.number << LEAF_SHIFT)
            keys[place] = self._records(place, digests, addresses, rows)
        for places in layout.sharing:
            leading = keys[layout.apart[0]]
            shared = digests_of(rows, len(places), next(values), next(values))
            if leading.left_out or shared is None:
                raise _NotWhole
            for place, digests in zip(places, shared, strict=True):
                keys[place] = self._records(place, digests, leading.addresses, rows)
        self._learn(rows, keys)
        return Chunk(rows=rows, keys=tuple(keys), history=history)

    def _records(self, place: int, digests: Words, addresses: Words, rows: int) -> KeyRecords:
        return KeyRecords(
            digests=digests if self.keys[place].scattered else mix(digests),
            addresses=addresses,
            left_out=rows - len(digests),
        )

    def _learn(self, rows: int, keys: Sequence[KeyRecords]) -> None:
        """See which keys leave rows out."""
        if rows:
            left_out = [records.left_out for records in keys]
            self._sparse = frozenset(
                place for place, count in enumerate(left_out) if count > rows * _SPARSE
            )
            self._whole -= {place for place, count in enumerate(left_out) if count}

    def _around(self, session: Session, wanted: _Range, error: UnreadableData) -> Chunk:
        """Read what can be read of a range that failed: by halves, down to a row or block."""
        leaf, low, high = wanted.leaf, wanted.low, wanted.high
        one_row = high is not None and high - low == 1
        if one_row or (_is_one_block(low, high) and self._page_fails(session, wanted)):
            return lost_row(self.keys, leaf, low, error)
        if high is None:
            known = max((low >> OFFSET_BITS) + 1, blocks_now(session, leaf)) << OFFSET_BITS
            parts: list[tuple[int, int | None]] = [(low, known), (known, None)]
        else:
            parts = [*_halves(low, high)]
        return joined(
            [
                self._readable(session, replace(wanted, low=start, high=end))
                for start, end in parts
            ]
        )

    def _page_fails(self, session: Session, wanted: _Range) -> bool:
        """Tell whether the page itself is invalid: then offsets without a row fail too."""
        block = wanted.low >> OFFSET_BITS
        low, high = block << OFFSET_BITS | _OFFSETS, block + 1 << OFFSET_BITS
        try:
            self._read(session, replace(wanted, low=low, high=high, most=None))
        except UnreadableData:
            return True
        return False


def blocks_now(session: Session, leaf: Leaf) -> int:
    """Ask how many blocks the heap has by now."""
    (blocks,) = session.row(
        "SELECT coalesce(pg_catalog.pg_relation_size($1::oid::regclass, 'main'), 0)"
        " / pg_catalog.current_setting('block_size')::int8",
        [leaf.oid],
    )
    return int(blocks)


def _halves(low: int, high: int) -> list[tuple[int, int]]:
    """Split a range of addresses: by blocks while it spans several, then by offsets."""
    first = low >> OFFSET_BITS
    last = (high - 1) >> OFFSET_BITS
    if last > first:
        middle = (first + last + 1) // 2 << OFFSET_BITS
        return [(low, middle), (middle, high)]
    start = low & 0xFFFF
    end = min(high - (first << OFFSET_BITS), _OFFSETS)
    half = (first << OFFSET_BITS) + (start + end) // 2
    return [(low, half), (half, (first << OFFSET_BITS) + end)]


def _is_one_block(low: int, high: int | None) -> bool:
    """Tell whether the range is one whole block."""
    return high is not None and low & 0xFFFF == 0 and high - low == 1 << OFFSET_BITS


def lost_row(
    keys: Sequence[ResolvedKey], leaf: Leaf, address: int, error: UnreadableData
) -> Chunk:
    """Make the chunk of a row (offset 0: a block) that cannot be read: only its report."""
    return Chunk(
        rows=0,
        keys=tuple(NOTHING for _ in keys),
        unreadable=(
            UnreadableRow(
                leaf=leaf.number,
                block=address >> OFFSET_BITS & 0xFFFFFFFF,
                offset=address & 0xFFFF,
                message=error.message,
            ),
        ),
    )
