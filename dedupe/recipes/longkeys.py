"""Rows whose key is too long for the index that a recipe is going to build.

An entry of a btree may take a third of a page. While an index is missing or lies, rows come
in that it could not hold, and its rebuild fails on them after everything else was done. What
was measured is in docs/decisions/long-keys.md.

Sources: https://www.postgresql.org/docs/current/btree.html,
https://www.postgresql.org/docs/current/storage-toast.html
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import journal
from ..connect import Database
from ..errors import UnreadableData, UsageError
from ..key import MatchKey, resolve
from ..planning import resolved_key
from ..repair.telling import stopped
from ..scan.run import Run
from ..session import Session
from ..table import Leaf, load_table, quoted
from .entries import Entry, read_entry
from .keys import RecipeKey
from .preconditions import Met

_BYTES = 64 << 20
_SHOWN = 5


@dataclass(slots=True)
class Found:
    """What was found for one index."""

    #: rows that are too long for it
    count: int = 0
    #: rows of which it is not known
    unsure: int = 0
    #: some of the first, by their primary key or address
    rows: list[str] = field(default_factory=list)


def long_keys(
    database: Database,
    keys: Sequence[tuple[RecipeKey, Run]],
    rebuild: Sequence[str],
    stopping: Callable[[], bool],
) -> Met:
    """Find the rows that would end the build of an index, those of finished steps left out.

    Each key comes with its run; ``rebuild`` names further indexes on the role's own search path.
    ``stopping`` is asked between two statements. Reads each table once,
    but for those whose keys cannot be too long, in statements of 64 MB of heap; a value is
    only looked at if its length alone does not decide.

    Raises RepairStopped, and what reading a table raises.
    """
    with database.open("pgmend recipe") as session:
        named = []
        for key, run in keys:
            if not _done(session, run):
                resolved = resolved_key(session, run, 0)
                named.append((key.create or resolved.name, resolved))
        for name in rebuild:
            try:
                named.append((name, resolve(session, MatchKey.from_index(quoted(name)))))
            except UsageError:
                # It is not here, or no btree.
                continue
        entries = [
            (name, entry)
            for name, key in named
            if (entry := read_entry(session, key)) is not None
        ]
        met = Met()
        for oid in dict.fromkeys(entry.key.table_oid for _, entry in entries):
            of_table = [one for one in entries if one[1].key.table_oid == oid]
            met = met.joined(Looking(session, oid, of_table, stopping).look())
    return met


def _done(session: Session, run: Run) -> bool:
    """Whether an earlier call has built a key's index already."""
    known = journal.find_run(session, run.id)
    return known is not None and known.state == "repaired"


class Looking:
    """One pass over a table for all of its indexes."""

    def __init__(
        self,
        session: Session,
        oid: int,
        entries: Sequence[tuple[str, Entry]],
        stopping: Callable[[], bool],
    ) -> None:
        self._session = session
        self._table = load_table(session, oid)
        self._entries = entries
        self._stopping = stopping
        self._found = [Found() for _ in entries]
        self._unreadable: Counter[str] = Counter()

    def look(self) -> Met:
        """Read the table; say what a recipe cannot begin with."""
        self.read()
        return Met(unmet=tuple(self._too_long()), notes=tuple(self._unsure()))

    def read(self) -> tuple[list[Found], int]:
        """Read the table; return what was found, in the order of the indexes.

        Beside it, how many parts of 64 MB could not be read. Raises RepairStopped.
        """
        # What the catalogs wrote under one search path may mean something else under another.
        for path in dict.fromkeys(entry.key.search_path for _, entry in self._entries):
            numbers = [
                number
                for number, (_, entry) in enumerate(self._entries)
                if entry.key.search_path == path
            ]
            for leaf in self._table.leaves:
                self._leaf(leaf, numbers, path)
        return self._found, self._unreadable.total()

    def _leaf(self, leaf: Leaf, numbers: Sequence[int], path: str) -> None:
        entries = [self._entries[number][1] for number in numbers]
        row = [f"{quoted(column)}::pg_catalog.text" for column in leaf.pk] or ["ctid::text"]
        chosen = ", ".join([*row, *(column for entry in entries for column in entry.columns)])
        query = (
            f'SELECT {chosen} FROM ONLY {leaf.sql} AS "the row"'
            " WHERE ctid OPERATOR(pg_catalog.>=) $1::pg_catalog.tid"
            " AND ctid OPERATOR(pg_catalog.<) $2::pg_catalog.tid"
            f" AND ({' OR '.join(entry.long for entry in entries)})"
        )
        (size,) = self._session.row("SELECT pg_catalog.current_setting('block_size')::int")
        step = max(1, _BYTES // size)
        for first in range(0, leaf.blocks, step):
            if self._stopping():
                raise stopped()
            bounds = [f"({first},0)", f"({first + step},0)"]
            try:
                with self._session.transaction(settings={"search_path": path}):
                    rows = self._session.rows(query, bounds)
            except UnreadableData:
                # The scan tells which rows cannot be read.
                self._unreadable[leaf.label] += 1
                continue
            for values in rows:
                self._row(leaf, values, zip(numbers, entries, strict=True))

    def _row(
        self, leaf: Leaf, values: Sequence[Any], entries: Iterator[tuple[int, Entry]]
    ) -> None:
        at = max(1, len(leaf.pk))
        for number, entry in entries:
            mine = values[at : at + len(entry.columns)]
            at += len(entry.columns)
            verdict = entry.judge(mine)
            if verdict is False:
                continue
            found = self._found[number]
            if verdict is None:
                found.unsure += 1
                continue
            found.count += 1
            if len(found.rows) < _SHOWN:
                found.rows.append(_named(leaf, values))

    def _too_long(self) -> Iterator[str]:
        for (name, entry), found in zip(self._entries, self._found, strict=True):
            if found.count:
                more = found.count - len(found.rows)
                yield (
                    f"{self._table.label}: {_rows(found.count)} too long for the index {name},"
                    f" which holds entries of {entry.limit} bytes: {', '.join(found.rows)}"
                    + (f" and {more} more" if more else "")
                    + "; shorten what is in them or delete them, by the application's own means"
                )

    def _unsure(self) -> Iterator[str]:
        for (name, entry), found in zip(self._entries, self._found, strict=True):
            if found.unsure:
                yield (
                    f"{self._table.label}: {_rows(found.unsure)} perhaps too long for the index"
                    f" {name}, which holds entries of {entry.limit} bytes: how far they are"
                    " compressed is not known before"
                )
        for label, count in self._unreadable.items():
            yield (
                f"{label}: in {count} parts of 64 MB damaged rows kept others from being looked at"
                " for keys that are too long"
            )


def _rows(count: int) -> str:
    return "1 row is" if count == 1 else f"{count} rows are"


def _named(leaf: Leaf, values: Sequence[Any]) -> str:
    """Name a row by its primary key, or by its address."""
    if not leaf.pk:
        return f"ctid {values[0]}"
    return " ".join(f"{column} {value}" for column, value in zip(leaf.pk, values, strict=False))


