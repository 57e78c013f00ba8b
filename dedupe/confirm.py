"""Confirm: candidates become groups by the key's real equality, on the server.

Rows are read by their address under the sweep's snapshot, never through an
index. The key is computed again: a row that is not visible, or whose digest is
another one now, is dropped. The rows of a digest are compared with its first
row; those that differ from it are compared with the first of themselves, and
so on, so that the work is linear wherever digests tell keys apart.

Locks: ACCESS SHARE. Memory: two batches of rows here, one on the server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .addressed import AddressReader, Question
from .groups import GroupsWriter, MemberRow
from .scan.spill import Words

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """Candidates, sorted by (digest, address), whose rows are on their way."""

    digests: Sequence[int]
    addresses: Sequence[int]
    question: Question


class Confirmer:
    """Confirms the candidates of one key and writes its groups."""

    def __init__(
        self,
        rows: AddressReader,
        *,
        ordinal: int,
        writer: GroupsWriter,
    ) -> None:
        """Work on key number ``ordinal`` of the run, whose rows ``rows`` reads."""
        self._rows = rows
        self._ordinal = ordinal
        self._writer = writer
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
        last: _Batch | None = None
        for digests, addresses in self._cut(slices):
            if between():
                break
            if last is not None and digests[0] == last.digests[-1]:
                # Its first rows are compared with rows of the last batch.
                self._confirm(last)
                last = None
            batch = self._asked(digests.tolist(), addresses.tolist())
            if last is not None:
                self._confirm(last)
            last = batch
        if last is not None:
            self._confirm(last)
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

    def _asked(self, digests: Sequence[int], addresses: Sequence[int]) -> _Batch:
        """Ask for a batch, and for the row that leads a digest that goes on."""
        leaders = {known.first for known in self._open.get(digests[0], ())[:1]}
        question = self._rows.ask(sorted(leaders.union(addresses)))
        return _Batch(digests=digests, addresses=addresses, question=question)

    def _confirm(self, batch: _Batch) -> None:
        """Confirm one batch, and learn from it how many rows to ask for at a time."""
        received = self._compare(batch)
        took = batch.question.seconds
        if took < _BATCH_SECONDS / 2 and received < _BATCH_BYTES / 2:
            self._size = min(_LARGEST_BATCH, self._size * 2)
        elif took > _BATCH_SECONDS or received > _BATCH_BYTES:
            self._size = max(1, self._size // 2)

    def _compare(self, batch: _Batch) -> int:
        """Compare the rows of each digest; returns bytes of text received."""
        digests = batch.digests
        if digests[0] not in self._open:
            self._close_open()
        classes, self._open = self._open, {}
        expected = set(zip(digests, batch.addresses, strict=True))
        pending, received, place = batch.addresses, 0, 0
        while pending:
            # Of a digest that goes on from the last batch, the first rows of its classes
            # lead the rounds; they stand before all others in heap order.
            leaders = {known[place].first for known in classes.values() if len(known) > place}
            wanted = expected | {(digests[0], address) for address in leaders}
            if not place:
                rows = self._rows.rows(batch.question)
            else:
                rows = self._rows.fetch(sorted(leaders.union(pending)))
            strangers = {r.address for r in rows if (r.digest, r.address) not in wanted}
            if strangers:
                # Their addresses hold other rows by now. Such a row may have been taken as
                # the first of its digest, so the answer is asked for again without it.
                rows = self._rows.fetch(sorted(leaders.union(pending) - strangers))
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
