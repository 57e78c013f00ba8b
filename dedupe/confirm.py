"""Confirm: candidates become groups by the key's real equality, on the server.

Rows are read by their address under the sweep's snapshot, never through an
index. The key is computed again: a row that is not visible, or whose digest is
another one now, is dropped. The rows of a digest are compared with its first
row; those that differ from it are compared with the first of themselves, and
so on, so that the work is linear wherever digests tell keys apart.

Locks: ACCESS SHARE. Memory: one batch of rows on both sides.

Source: https://www.postgresql.org/docs/current/sql-select.html (WITH … MATERIALIZED)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .errors import UnreadableData
from .groups import GroupsWriter, MemberRow, member_columns
from .key import ResolvedKey
from .scan.checkpoint import UnreadableRow
from .scan.chunk import LEAF_SHIFT, OFFSET_BITS, tid_text
from .scan.spill import Words, mix
from .session import Session
from .table import Table

_FIRST_BATCH = 100
_LARGEST_BATCH = 1000
_BATCH_SECONDS = 0.5
#: text of keys in one answer that the next batch aims to stay under
_BATCH_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """What came of one key's candidates."""

    groups: int
    rows_in_groups: int
    #: rows that share a digest with another row and no key with any
    false_candidates: int


@dataclass(slots=True)
class _Class:
    """Rows of one digest that are equal so far."""

    #: address of the first row, which the others are compared with
    first: int
    #: the first row, held back until a second one makes it a group
    held: MemberRow | None
    number: int = 0
    size: int = 1


class _Row(NamedTuple):
    """One row as the server answered."""

    digest: int
    address: int
    #: equal to the first row of its digest in the same answer
    same: bool
    member: MemberRow


class Confirmer:
    """Confirms the candidates of one key and writes its groups."""

    def __init__(
        self,
        session: Session,
        *,
        snapshot: str,
        table: Table,
        key: ResolvedKey,
        ordinal: int,
        search_path: str,
        writer: GroupsWriter,
        lost: Callable[[UnreadableRow], None],
    ) -> None:
        """Work on key number ``ordinal`` of the run; ``lost`` takes rows that cannot be read."""
        self._session = session
        self._snapshot = snapshot
        self._table = table
        self._key = key
        self._ordinal = ordinal
        self._search_path = search_path
        self._writer = writer
        self._lost = lost
        self._size = _FIRST_BATCH
        # The digest that the last batch ended in may go on in the next one.
        self._open: dict[int, list[_Class]] = {}
        #: groups found so far
        self.groups = 0
        self._rows_in_groups = 0
        self._false = 0

    def run(self, slices: Iterable[tuple[Words, Words]], between: Callable[[], bool]) -> Confirmed:
        """Confirm all slices; ``between`` is asked before every batch.

        When it says True, the work ends early, and what was written has to be discarded.
        """
        for digests, addresses in self._cut(slices):
            if between():
                break
            started = time.monotonic()
            received = self._batch(digests.tolist(), addresses.tolist())
            took = time.monotonic() - started
            if took < _BATCH_SECONDS / 2 and received < _BATCH_BYTES / 2:
                self._size = min(_LARGEST_BATCH, self._size * 2)
            elif took > _BATCH_SECONDS or received > _BATCH_BYTES:
                self._size = max(1, self._size // 2)
        self._close_open()
        return Confirmed(
            groups=self.groups,
            rows_in_groups=self._rows_in_groups,
            false_candidates=self._false,
        )

    def _cut(self, slices: Iterable[tuple[Words, Words]]) -> Iterator[tuple[Words, Words]]:
        """Cut slices into batches of the size wanted by then; short ones are joined."""
        none = np.empty(0, np.uint64)
        rest = none, none
        for part in slices:
            digests, addresses = (np.concatenate(both) for both in zip(rest, part, strict=True))
            del part
            place = 0
            while len(digests) - place >= self._size:
                end = place + self._size
                yield digests[place:end], addresses[place:end]
                place = end
            rest = digests[place:].copy(), addresses[place:].copy()
            del digests, addresses
        if len(rest[0]):
            yield rest

    def _batch(self, digests: list[int], addresses: list[int]) -> int:
        """Confirm one batch, sorted by (digest, address); returns bytes of text received."""
        if digests[0] not in self._open:
            self._close_open()
        classes, self._open = self._open, {}
        expected = set(zip(digests, addresses, strict=True))
        pending, received, place = addresses, 0, 0
        while pending:
            # Of a digest that goes on from the last batch, the first rows of its classes
            # lead the rounds; they stand before all others in heap order.
            leaders = {known[place].first for known in classes.values() if len(known) > place}
            wanted = expected | {(digests[0], address) for address in leaders}
            rows = self._fetch(sorted(leaders.union(pending)))
            strangers = {r.address for r in rows if (r.digest, r.address) not in wanted}
            if strangers:
                # Their addresses hold other rows by now. Such a row may have been taken as
                # the first of its digest, so the answer is asked for again without it.
                rows = self._fetch(sorted(leaders.union(pending) - strangers))
            received += sum(len(row.member.values) for row in rows)
            pending = []
            for row in rows:
                if row.address in leaders:
                    continue
                known = classes.setdefault(row.digest, [])
                if len(known) == place:
                    known.append(_Class(first=row.address, held=row.member))
                elif row.same:
                    self._join(known[place], row.member)
                else:
                    pending.append(row.address)
            place += 1
        for digest, known in classes.items():
            if digest == digests[-1]:
                self._open[digest] = known
            else:
                self._close(known)
        return received

    def _join(self, known: _Class, member: MemberRow) -> None:
        """Add a row to its class; the second row makes the class a group."""
        if known.held is not None:
            self.groups += 1
            known.number = self.groups
            self._writer.add_member(self._ordinal, known.number, 0, known.held)
            known.held = None
        self._writer.add_member(self._ordinal, known.number, known.size, member)
        known.size += 1

    def _close_open(self) -> None:
        for known in self._open.values():
            self._close(known)
        self._open = {}

    def _close(self, classes: list[_Class]) -> None:
        """Count the finished classes of one digest."""
        for known in classes:
            if known.held is None:
                self._writer.add_group(self._ordinal, known.number, known.size)
                self._rows_in_groups += known.size
            elif len(classes) > 1:
                self._false += 1

    def _fetch(self, addresses: list[int]) -> list[_Row]:
        """Read rows by address, in order of (digest, address); what is unreadable is reported."""
        if not addresses:
            return []
        try:
            return self._ask(addresses)
        except UnreadableData as error:
            unreadable = self._unreadable(addresses, error)
        # What can be read is asked for as one answer, whose first rows lead it.
        return self._fetch([address for address in addresses if address not in unreadable])

    def _unreadable(self, addresses: list[int], error: UnreadableData) -> set[int]:
        """Halve addresses that failed together until the failing rows are alone; report them."""
        if len(addresses) == 1:
            (address,) = addresses
            self._lost(
                UnreadableRow(
                    leaf=address >> LEAF_SHIFT,
                    block=address >> OFFSET_BITS & 0xFFFFFFFF,
                    offset=address & 0xFFFF,
                    message=error.message,
                )
            )
            return {address}
        found: set[int] = set()
        middle = len(addresses) // 2
        for half in (addresses[:middle], addresses[middle:]):
            try:
                self._ask(half)
            except UnreadableData as deeper:
                found |= self._unreadable(half, deeper)
        return found

    def _ask(self, addresses: list[int]) -> list[_Row]:
        by_leaf: dict[int, list[str]] = {}
        asked: dict[tuple[int, bytes], tuple[int, str]] = {}
        for address in addresses:
            leaf, tid = address >> LEAF_SHIFT, tid_text(address)
            by_leaf.setdefault(leaf, []).append(tid)
            asked[leaf, tid.encode()] = address, tid
        with self._session.transaction(
            snapshot=self._snapshot,
            settings={"search_path": self._search_path, "work_mem": "32MB"},
        ):
            answer = self._session.packed_rows(
                self._statement(tuple(by_leaf)),
                # One text a leaf: the driver would look at every element of a list.
                ['{"' + '","'.join(tids) + '"}' for tids in by_leaf.values()],
            )
        digests = np.frombuffer(b"".join([row[3] for row in answer]), ">u8").astype(np.uint64)
        if not self._key.scattered:
            digests = mix(digests)
        rows = []
        for (leaf, tid, xmin, _, same, pk, values), digest in zip(
            answer, digests.tolist(), strict=True
        ):
            address, ctid = asked[leaf, tid]
            member = MemberRow(leaf, ctid, xmin.decode(), pk, values)
            rows.append(_Row(digest, address, same, member))
        # No two rows have one address.
        rows.sort()
        return rows

    def _statement(self, leaves: Sequence[int]) -> str:
        """Write the statement that reads rows of ``leaves``; one tid array for each.

        The digest and the equality see the key's values as columns, so that each
        expression is computed once a row.
        """
        key = self._key
        names = [f"k{place}" for place in range(len(key.columns))]
        first = [f"f.{name}" for name in names]
        mine = [f"m.{name}" for name in names]
        parts = []
        for number, leaf_number in enumerate(leaves, 1):
            leaf = self._table.leaves[leaf_number]
            values = ", ".join(
                f"{column.expression} AS {name}"
                for column, name in zip(key.columns, names, strict=True)
            )
            pk_text, _ = member_columns(leaf.pk, ())
            where = f" AND ({key.where}\n)" if key.where is not None else ""
            parts.append(
                f"SELECT {leaf_number}::pg_catalog.int4 AS leaf, ctid AS tid, xmin AS version,"
                f" {pk_text} AS pk, {values} FROM ONLY {leaf.sql}"
                f" WHERE ctid OPERATOR(pg_catalog.=) ANY (${number}::pg_catalog.tid[]){where}"
            )
        _, value_texts = member_columns((), mine)
        columns = ", ".join(names)
        return (
            f"WITH r AS MATERIALIZED (\n{' UNION ALL '.join(parts)}\n),"
            f" m AS MATERIALIZED (SELECT *, {key.digest(names)} AS d FROM r),"
            f" f AS MATERIALIZED (SELECT DISTINCT ON (d) d, {columns} FROM m"
            " WHERE d IS NOT NULL ORDER BY d, leaf, tid)"
            " SELECT m.leaf, m.tid::pg_catalog.text, m.version::pg_catalog.text, m.d,"
            f" {key.equal(mine, first)}, m.pk, {value_texts}"
            " FROM m JOIN f ON f.d OPERATOR(pg_catalog.=) m.d"
        )
