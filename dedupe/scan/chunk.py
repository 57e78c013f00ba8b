"""One chunk: a range of a heap read into digests and addresses by one statement.

The server answers with a single row: how many rows the range holds and, for each
key, how many of them take part (no NULL, the predicate true) and one ``bytea`` of
14-byte records, ``tid`` and digest as their types send them. A row that got lost
between the two counts is an error, not a silence.

Locks: ACCESS SHARE on the leaf for the statement. Memory: the answer, bounded by
the caller's choice of range.

Source: https://www.postgresql.org/docs/current/ddl-system-columns.html (ctid, xmin)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
from .pace import WIRE_BYTES
from .packing import Packing, answer, in_heap_order, is_column
from .spill import Words, mix

#: bits of an address below the block number
OFFSET_BITS = 16
#: bits of an address below the leaf's number
LEAF_SHIFT = 48
#: keys of plain columns from which an address is better sent once for all of them
_MANY_KEYS = 3
#: share of rows that do not take part in a key from which each row is looked at for that first
_SPARSE = 0.2
#: more line pointers than any page of 32 kB holds
_OFFSETS = 2048

_WIRE = np.dtype(
    {"names": ["head", "digest"], "formats": [">u8", ">u8"], "offsets": [0, 6], "itemsize": 14}
)
_PLAN_NODES = {"Aggregate", "Limit", "Subquery Scan", "Tid Range Scan"}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecords:
    """What a chunk holds for one key: two arrays of one length."""

    #: spread digests
    digests: Words
    #: leaf, block and offset of each row
    addresses: Words
    #: rows of the chunk that do not take part in the key
    left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """The rows of one range."""

    #: rows in the range, those that a key leaves out included
    rows: int
    #: one item for each key of the run
    keys: tuple[KeyRecords, ...]
    #: what could not be read
    unreadable: tuple[UnreadableRow, ...] = ()
    #: place in the server's history that lies behind what was seen
    history: int = 0


class TooManyRows(Exception):
    """A range holds more rows than its reader may take at a time."""


_NOTHING = KeyRecords(
    digests=np.zeros(0, np.uint64), addresses=np.zeros(0, np.uint64), left_out=0
)


def covers(key: ResolvedKey, leaf: Leaf) -> bool:
    """Tell whether the rows of ``leaf`` belong to the table of ``key``."""
    return key.table_oid in leaf.lineage


def tid_text(address: int) -> str:
    """Write an address as PostgreSQL writes a ctid: ``(block,offset)``."""
    return f"({address >> OFFSET_BITS & 0xFFFFFFFF},{address & 0xFFFF})"


def tid_address(text: str) -> int:
    """Read a ctid; the address is without a leaf's number."""
    block, offset = text[1:-1].split(",")
    return int(block) << OFFSET_BITS | int(offset)


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
        #: the path that the key expressions are read under
        self.search_path = shared_search_path(keys)

    def statement(self, leaf: Leaf, source: str, packing: Packing) -> str:
        """Write the statement over rows of ``leaf``.

        ``source`` stands behind FROM and gives ``ctid`` and all columns; ``packing`` is
        how the records are put into one value.
        """
        places = [place for place, key in enumerate(self.keys) if covers(key, leaf)]
        keys = [self.keys[place] for place in places]
        address = "ctid", "pg_catalog.tidsend(ctid)"
        operands = [[column.expression for column in key.columns] for key in keys]
        parts = [None if key.condition is None else f"({key.condition}\n)" for key in keys]
        tests = [
            key.takes_part(texts, part)
            for key, texts, part in zip(keys, operands, parts, strict=True)
        ]
        plain = all(is_column(operand) for texts in operands for operand in texts)
        if not plain or len(keys) >= _MANY_KEYS:
            # Each expression, and the address as it is sent, is computed once and used in
            # several places; OFFSET 0 keeps the planner from putting it back into them. Few
            # plain columns are cheaper without it.
            columns = ["ctid AS tid", "pg_catalog.tidsend(ctid) AS sent"]
            for number, texts in enumerate(operands):
                columns += [f"{text} AS k{number}_{place}" for place, text in enumerate(texts)]
                operands[number] = [f"k{number}_{place}" for place in range(len(texts))]
                if (part := parts[number]) is not None:
                    columns.append(f"{part} AS p{number}")
                    parts[number] = f"p{number}"
            source = f"(SELECT {', '.join(columns)} FROM {source} OFFSET 0) AS s"
            address = "tid", "sent"
        answers = [
            answer(key, texts, part, address, test, packing, sparse=place in self._sparse)
            for place, key, texts, part, test in zip(
                places, keys, operands, parts, tests, strict=True
            )
        ]
        return (
            f"SELECT pg_catalog.pg_relation_filenode({leaf.oid}::pg_catalog.oid)::pg_catalog.int8,"
            f" {HISTORY}, pg_catalog.count(*), {', '.join(answers)}\nFROM {source}"
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
        try:
            return self._read(session, leaf, low, high, snapshot, most)
        except UnreadableData as error:
            return self._around(session, leaf, low, high, snapshot, most, error)

    def _read(
        self,
        session: Session,
        leaf: Leaf,
        low: int,
        high: int | None,
        snapshot: str | None,
        most: int | None,
    ) -> Chunk:
        rows = self._range(leaf, bounded=high is not None)
        packing = in_heap_order(rows, few=self._horizon is not None, most=most)
        query = self.statement(leaf, rows, packing)
        bounds = [tid_text(low)] + ([tid_text(high)] if high is not None else [])
        with session.transaction(snapshot=snapshot, settings={"search_path": self.search_path}):
            if leaf.oid not in self._checked:
                check_plan(session, query, bounds, _PLAN_NODES)
                self._checked.add(leaf.oid)
            row = session.packed_row(query, bounds)
        if most is not None and row[2] > most:
            raise TooManyRows
        chunk = self.decode(leaf, row)
        for records in chunk.keys:
            if np.any(records.addresses[1:] <= records.addresses[:-1]):
                raise QueryFailed(
                    f"the server did not read {leaf.label} in the order of its rows",
                    hint="Report this with the server's version and its settings (\\dconfig).",
                )
        return chunk

    def decode(self, leaf: Leaf, row: tuple[Any, ...]) -> Chunk:
        """Turn the server's row into arrays; raises RunMismatch, QueryFailed."""
        filenode, history, rows, *answers = row
        if filenode != leaf.filenode:
            raise rewritten(leaf.label, leaf.filenode, filenode)
        keys = []
        parts = iter(answers)
        for key in self.keys:
            if not covers(key, leaf):
                keys.append(_NOTHING)
                continue
            counted, first, packed = next(parts), next(parts), next(parts)
            records, left_over = divmod(len(packed) + len(first or b""), WIRE_BYTES)
            if left_over or counted not in {None, records}:
                raise QueryFailed(
                    f"the server returned {records} records for {counted} rows of {leaf.label},"
                    f" key {key.name}",
                    hint="The key's expressions or its predicate are not immutable;"
                    " such a key cannot be scanned.",
                )
            digests, addresses = _unpacked(records, first, packed)
            addresses |= np.uint64(leaf.number << LEAF_SHIFT)
            keys.append(
                KeyRecords(
                    digests=digests if key.scattered else mix(digests),
                    addresses=addresses,
                    left_out=rows - records,
                )
            )
        if rows:
            self._sparse = frozenset(
                place for place, records in enumerate(keys) if records.left_out > rows * _SPARSE
            )
        return Chunk(rows=rows, keys=tuple(keys), history=history)

    def _around(
        self,
        session: Session,
        leaf: Leaf,
        low: int,
        high: int | None,
        snapshot: str | None,
        most: int | None,
        error: UnreadableData,
    ) -> Chunk:
        """Read what can be read of a range that failed: by halves, down to a row or block."""
        one_row = high is not None and high - low == 1
        if one_row or (
            _is_one_block(low, high) and self._page_fails(session, leaf, low, snapshot)
        ):
            return lost_row(self.keys, leaf, low, error)
        if high is None:
            known = max((low >> OFFSET_BITS) + 1, blocks_now(session, leaf)) << OFFSET_BITS
            parts: list[tuple[int, int | None]] = [(low, known), (known, None)]
        else:
            parts = [*_halves(low, high)]
        return _joined(
            [self.read(session, leaf, *part, snapshot=snapshot, most=most) for part in parts]
        )

    def _page_fails(
        self, session: Session, leaf: Leaf, start: int, snapshot: str | None
    ) -> bool:
        """Tell whether the page itself is invalid: then offsets without a row fail too."""
        block = start >> OFFSET_BITS
        try:
            low, high = block << OFFSET_BITS | _OFFSETS, block + 1 << OFFSET_BITS
            self._read(session, leaf, low, high, snapshot, None)
        except UnreadableData:
            return True
        return False


def _unpacked(records: int, first: bytes | None, packed: bytes) -> tuple[Words, Words]:
    """Read digests and addresses out of the server's answer; ``first`` stands before it."""
    if first is None:
        raw = np.frombuffer(packed, _WIRE)
        addresses: Words = raw["head"].astype(np.uint64)
        addresses >>= np.uint64(64 - LEAF_SHIFT)
        return raw["digest"].astype(np.uint64), addresses
    digests = np.ndarray(records, ">u8", packed, 0, (WIRE_BYTES,))
    addresses = np.empty(records, np.uint64)
    addresses[0] = int.from_bytes(first, "big") << (64 - LEAF_SHIFT)
    # Behind the first digest: an address and the two bytes that follow it.
    addresses[1:] = np.ndarray(records - 1, ">u8", packed, 8, (WIRE_BYTES,))
    addresses >>= np.uint64(64 - LEAF_SHIFT)
    return digests.astype(np.uint64), addresses


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
        keys=tuple(_NOTHING for _ in keys),
        unreadable=(
            UnreadableRow(
                leaf=leaf.number,
                block=address >> OFFSET_BITS & 0xFFFFFFFF,
                offset=address & 0xFFFF,
                message=error.message,
            ),
        ),
    )


def _joined(chunks: Sequence[Chunk]) -> Chunk:
    return Chunk(
        rows=sum(chunk.rows for chunk in chunks),
        keys=tuple(
            KeyRecords(
                digests=np.concatenate([part.digests for part in parts]),
                addresses=np.concatenate([part.addresses for part in parts]),
                left_out=sum(part.left_out for part in parts),
            )
            for parts in zip(*(chunk.keys for chunk in chunks), strict=True)
        ),
        unreadable=tuple(row for chunk in chunks for row in chunk.unreadable),
        history=max(chunk.history for chunk in chunks),
    )
