"""Rows read by their addresses under one snapshot, an answer on its way meanwhile.

The server works on the next question while the last answer is looked at. Each question
is a transaction of its own, asked in one thread that ends with the reader.

Locks: ACCESS SHARE, for one question at a time.

Source: https://www.postgresql.org/docs/current/sql-select.html (WITH … MATERIALIZED)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from .errors import UnreadableData
from .groups import MemberRow, member_columns
from .key import ResolvedKey
from .scan.checkpoint import UnreadableRow
from .scan.records import LEAF_SHIFT, OFFSET_BITS, tid_text
from .scan.spill import mix
from .session import Session
from .table import Table

#: seconds between two tries to cancel a question: the first may come before it begins
_CANCEL_SECONDS = 0.1


class AddressedRow(NamedTuple):
    """One row as the server answered."""

    digest: int
    address: int
    #: equal to the first row of its digest in the same answer
    same: bool
    member: MemberRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Rows that were asked for."""

    addresses: Sequence[int]
    #: the server's rows, and the seconds that they took
    answer: Future[tuple[list[tuple[Any, ...]], float]]

    @property
    def seconds(self) -> float:
        """How long the server took, once the rows were waited for; 0 where it failed."""
        return 0.0 if self.answer.exception() else self.answer.result()[1]


class AddressReader:
    """Reads rows of one table with their key and digest; a context manager."""

    def __init__(
        self,
        session: Session,
        *,
        snapshot: str,
        table: Table,
        key: ResolvedKey,
        search_path: str,
        lost: Callable[[UnreadableRow], None],
    ) -> None:
        """Read through ``session`` under ``snapshot``; ``lost`` takes rows that cannot be read."""
        self._session = session
        self._snapshot = snapshot
        self._table = table
        self._key = key
        self._search_path = search_path
        self._lost = lost
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pgmend-confirm")
        self._open: set[Future[Any]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of what was asked and is not wanted any more; the thread has ended then."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        while unwanted := [one for one in self._open if not one.done()]:
            self._session.cancel()
            wait(unwanted, timeout=_CANCEL_SECONDS)
        self._thread.shutdown()

    def ask(self, addresses: Sequence[int]) -> Question:
        """Ask for rows, behind what was asked before; does not wait."""
        answer = self._thread.submit(self._answer, addresses)
        self._open = {one for one in self._open if not one.done()} | {answer}
        return Question(addresses=addresses, answer=answer)

    def rows(self, question: Question) -> list[AddressedRow]:
        """Wait for the rows, in order of (digest, address); what is unreadable is reported.

        A row is left out that the snapshot does not show, that the key's condition leaves
        out, or whose key has a NULL that sets it apart. Raises what ``Session.rows`` does.
        """
        try:
            answer, _ = question.answer.result()
        except UnreadableData as error:
            unreadable = self._unreadable(question.addresses, error)
            # What can be read is asked for as one answer, whose first rows lead it.
            return self.fetch([a for a in question.addresses if a not in unreadable])
        return self._parsed(question.addresses, answer)

    def fetch(self, addresses: Sequence[int]) -> list[AddressedRow]:
        """Ask for rows and wait for them, as ``rows`` does."""
        return self.rows(self.ask(addresses)) if addresses else []

    def _unreadable(self, addresses: Sequence[int], error: UnreadableData) -> set[int]:
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
                self.ask(half).answer.result()
            except UnreadableData as deeper:
                found |= self._unreadable(half, deeper)
        return found

    def _answer(self, addresses: Sequence[int]) -> tuple[list[tuple[Any, ...]], float]:
        """Ask the server for rows, in a transaction of its own."""
        started = time.monotonic()
        by_leaf: dict[int, list[str]] = {}
        for address in addresses:
            by_leaf.setdefault(address >> LEAF_SHIFT, []).append(tid_text(address))
        with self._session.transaction(
            snapshot=self._snapshot,
            settings={"search_path": self._search_path, "work_mem": "32MB"},
        ):
            answer = self._session.packed_rows(
                self._statement(tuple(by_leaf)),
                # One text a leaf: the driver would look at every element of a list.
                ['{"' + '","'.join(tids) + '"}' for tids in by_leaf.values()],
            )
        return answer, time.monotonic() - started

    def _parsed(
        self, addresses: Sequence[int], answer: Sequence[tuple[Any, ...]]
    ) -> list[AddressedRow]:
        asked = {}
        for address in addresses:
            text = tid_text(address)
            asked[address >> LEAF_SHIFT, text.encode()] = address, text
        digests = np.frombuffer(b"".join([row[3] for row in answer]), ">u8").astype(np.uint64)
        if not self._key.scattered:
            digests = mix(digests)
        rows = []
        for (leaf, tid, xmin, _, same, pk, values), digest in zip(
            answer, digests.tolist(), strict=True
        ):
            address, ctid = asked[leaf, tid]
            member = MemberRow(leaf, ctid, xmin.decode(), pk, values)
            rows.append(AddressedRow(digest, address, same, member))
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
