"""Duplicate groups on disk: written once, in one piece, and read as a stream.

The groups have an SQLite file of their own beside the run's state. It is
written without a journal under another name and takes its place by a rename
after a sync, so that it is there whole or not at all.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, overload

from .errors import LocalStorageError, RunDirectoryDamaged
from .scan.checkpoint import sync_directory
from .table import quoted

GROUPS_FILE = "groups.sqlite"
_UNFINISHED = "groups.sqlite.new"

_SCHEMA = """
CREATE TABLE leaf (number INTEGER PRIMARY KEY, schema BLOB NOT NULL, name BLOB NOT NULL, pk TEXT);
CREATE TABLE duplicate_group (
    key INTEGER NOT NULL, number INTEGER NOT NULL, size INTEGER NOT NULL,
    PRIMARY KEY (key, number)) WITHOUT ROWID;
CREATE TABLE member (
    key INTEGER NOT NULL, number INTEGER NOT NULL, ordinal INTEGER NOT NULL,
    leaf INTEGER NOT NULL, ctid TEXT NOT NULL, xmin TEXT NOT NULL,
    pk BLOB NOT NULL, values_ BLOB NOT NULL,
    PRIMARY KEY (key, number, ordinal)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One row of a duplicate group, as of the run's snapshot."""

    #: schema of the leaf that holds the row, unquoted
    schema: str
    #: name of the leaf that holds the row, unquoted
    table: str
    #: physical address, ``(block,offset)``
    ctid: str
    #: transaction that wrote this version of the row
    xmin: str
    #: primary key, column to text; None where the table has none
    pk: dict[str, str | None] | None
    #: the key's values as text, in the key's order
    key: tuple[str | None, ...]


class StreamedMembers(Sequence[Member]):
    """Rows that are read from disk as they are asked for."""

    def read(self, start: int, stop: int) -> Iterator[Member]:
        """Iterate the rows ``start`` to ``stop`` (not included)."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Member]:
        return self.read(0, len(self))

    @overload
    def __getitem__(self, index: int) -> Member: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Member]: ...

    def __getitem__(self, index: int | slice) -> Member | Sequence[Member]:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step > 0:
                return list(self.read(start, max(start, stop)))[::step]
            return [self[place] for place in range(start, stop, step)]
        place = range(len(self))[index]
        return next(self.read(place, place + 1))


class Members(StreamedMembers):
    """The rows of one group."""

    def __init__(self, reader: _Reader, key: int, number: int, size: int) -> None:
        self._reader = reader
        self._key = key
        self._number = number
        self._size = size

    def __len__(self) -> int:
        return self._size

    def read(self, start: int, stop: int) -> Iterator[Member]:
        """Iterate the rows ``start`` to ``stop`` (not included), in heap order."""
        return self._reader.members(self._key, self._number, start, stop)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rows that are equal under one key."""

    #: name of the key: its index, or its text
    key_name: str
    #: number of the group within its key, from 1
    number: int
    #: the rows, two or more, in heap order
    members: Members


class MemberRow(NamedTuple):
    """What the writer stores of one row; texts as the server sent them, in bytes."""

    leaf: int
    ctid: str
    xmin: str
    #: JSON array of the primary key's texts
    pk: bytes
    #: JSON array of the key's texts
    values: bytes


class GroupsWriter:
    """Writes the groups of one run; a context manager that keeps them only if it ends well."""

    def __init__(
        self, directory: Path, leaves: Iterable[tuple[int, str, str, Sequence[str]]]
    ) -> None:
        """Begin the file; ``leaves`` are (number, schema, name, primary key columns)."""
        self._final = directory / GROUPS_FILE
        self._path = directory / _UNFINISHED
        self._leaves = tuple(leaves)
        self._rows: list[tuple[int, int, int, int, str, str, bytes, bytes]] = []
        self._groups: list[tuple[int, int, int]] = []

    def __enter__(self) -> Self:
        try:
            self._path.unlink(missing_ok=True)
            self._connection = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False
            )
            self._path.chmod(0o600)
            for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-1024"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._connection.executescript(f"BEGIN;{_SCHEMA}")
            self._connection.executemany(
                "INSERT INTO leaf VALUES (?, ?, ?, ?)",
                [
                    (n, as_bytes(schema), as_bytes(name), json.dumps(pk))
                    for n, schema, name, pk in self._leaves
                ],
            )
        except (sqlite3.Error, OSError) as error:
            raise self._failed(error) from error
        return self

    def add_member(self, key: int, number: int, ordinal: int, row: MemberRow) -> None:
        """Add one row to a group."""
        self._rows.append(
            (key, number, ordinal, row.leaf, row.ctid, row.xmin, row.pk, row.values)
        )
        if len(self._rows) >= 1000:
            self._flush()

    def add_group(self, key: int, number: int, size: int) -> None:
        """Add a group once its size is known."""
        self._groups.append((key, number, size))
        if len(self._groups) >= 1000:
            self._flush()

    def _flush(self) -> None:
        try:
            self._connection.executemany(
                "INSERT INTO member VALUES (?, ?, ?, ?, ?, ?, ?, ?)", self._rows
            )
            self._connection.executemany(
                "INSERT INTO duplicate_group VALUES (?, ?, ?)", self._groups
            )
        except sqlite3.Error as error:
            raise self._failed(error) from error
        self._rows.clear()
        self._groups.clear()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._flush()
                self._connection.execute("COMMIT")
            self._connection.close()
            if kind is not None:
                self._path.unlink(missing_ok=True)
                return
            with self._path.open("rb") as written:
                os.fsync(written.fileno())
            self._path.rename(self._final)
            sync_directory(self._final.parent)
        except (sqlite3.Error, OSError) as failure:
            raise self._failed(failure) from failure

    def _failed(self, error: Exception) -> LocalStorageError:
        return LocalStorageError(
            f"cannot write {self._path}: {error}",
            hint="Make room, then run the same command again: it goes on from the sweep.",
            path=self._path,
        )


class _Reader:
    """Reads the groups file of a finished run."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro",
            uri=True, isolation_level=None, check_same_thread=False,
        )
        self._path = path
        self._leaves = {
            number: (as_text(schema), as_text(name), tuple(json.loads(pk)))
            for number, schema, name, pk in self._query("SELECT number, schema, name, pk FROM leaf")
        }

    def __del__(self) -> None:
        if hasattr(self, "_connection"):
            self._connection.close()

    def _query(self, query: str, params: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._connection.execute(query, params)
        except sqlite3.DatabaseError as error:
            raise RunDirectoryDamaged(
                f"{self._path} is damaged: {error}",
                hint="Scan again with --fresh or into another run directory.",
                path=self._path,
            ) from error

    def groups(self) -> Iterator[tuple[int, int, int]]:
        """Iterate (key, number, size)."""
        yield from self._query("SELECT key, number, size FROM duplicate_group ORDER BY 1, 2")

    def sizes(self, key: int) -> Iterator[tuple[int, int]]:
        """Iterate (group, its size) of a key."""
        yield from self._query(
            "SELECT number, size FROM duplicate_group WHERE key = ? ORDER BY 1", (key,)
        )

    def addresses(self, key: int) -> Iterator[tuple[int, str, str]]:
        """Iterate (leaf, ctid, xmin) of all rows of a key, group by group."""
        yield from self._query(
            "SELECT leaf, ctid, xmin FROM member WHERE key = ? ORDER BY number, ordinal", (key,)
        )

    def stored(self, key: int) -> Iterator[tuple[int, int, MemberRow]]:
        """Iterate (group, ordinal, row) of all rows of a key as they are stored."""
        for number, ordinal, *row in self._query(
            "SELECT number, ordinal, leaf, ctid, xmin, pk, values_ FROM member WHERE key = ?"
            " ORDER BY number, ordinal",
            (key,),
        ):
            yield number, ordinal, MemberRow(*row)

    def leaves(self) -> Iterator[tuple[int, str, str, tuple[str, ...]]]:
        """Iterate (number, schema, name, primary key columns) of the leaves."""
        for number, (schema, name, pk) in self._leaves.items():
            yield number, schema, name, pk

    def members(self, key: int, number: int, start: int, stop: int) -> Iterator[Member]:
        """Iterate the rows ``start`` to ``stop`` (not included) of a group."""
        for leaf, ctid, xmin, pk, values in self._query(
            "SELECT leaf, ctid, xmin, pk, values_ FROM member WHERE key = ? AND number = ?"
            " AND ordinal >= ? AND ordinal < ? ORDER BY ordinal",
            (key, number, start, stop),
        ):
            schema, table, columns = self._leaves[leaf]
            texts = json.loads(as_text(pk))
            yield Member(
                schema=schema,
                table=table,
                ctid=str(ctid),
                xmin=str(xmin),
                pk=dict(zip(columns, texts, strict=True)) if columns else None,
                key=tuple(json.loads(as_text(values))),
            )


def read_addresses(
    directory: Path, key: int
) -> Iterator[tuple[int, int, Iterator[tuple[int, str, str]]]]:
    """Stream (group, its size, its rows as (leaf, ctid, xmin) in their order) of one key.

    A group's rows are to be taken before the next group. Nothing else is read of them.
    Memory: one row. Raises RunDirectoryDamaged.
    """
    reader = _Reader(directory / GROUPS_FILE)
    rows = reader.addresses(key)
    for number, size in reader.sizes(key):
        members = islice(rows, size)
        yield number, size, members
        for _ in members:
            # Nobody wanted this row.
            pass


def read_groups(directory: Path, key_names: Sequence[str]) -> Iterator[Group]:
    """Stream the groups of a finished run; memory: one row. Raises RunDirectoryDamaged."""
    path = directory / GROUPS_FILE
    if not path.is_file():
        raise RunDirectoryDamaged(
            f"{path} is missing", hint="Scan again with --fresh.", path=path
        )
    reader = _Reader(path)
    for key, number, size in reader.groups():
        yield Group(
            key_name=key_names[key], number=number, members=Members(reader, key, number, size)
        )


def copy_groups(source: Path, key: int, target: Path) -> None:
    """Write the groups of one key of a finished run as those of a run of that key alone.

    Memory: a thousand rows. Raises RunDirectoryDamaged, LocalStorageError.
    """
    reader = _Reader(source / GROUPS_FILE)
    with GroupsWriter(target, reader.leaves()) as writer:
        for number, size in reader.sizes(key):
            writer.add_group(0, number, size)
        for number, ordinal, row in reader.stored(key):
            writer.add_member(0, number, ordinal, row)


def member_columns(pk: Sequence[str], expressions: Sequence[str]) -> tuple[str, str]:
    """Write the two SQL texts (JSON arrays) of a row's primary key and key values.

    ``format('%s', …)`` is the type's output function; a cast to text is not
    (char(n) would lose its trailing blanks).
    """
    return _json_array([quoted(column) for column in pk]), _json_array(expressions)


def _json_array(expressions: Sequence[str]) -> str:
    texts = ", ".join(
        f"CASE WHEN pg_catalog.num_nulls({e}) OPERATOR(pg_catalog.=) 0"
        f" THEN pg_catalog.format('%s', {e}) END"
        for e in expressions
    )
    return f"pg_catalog.array_to_json(ARRAY[{texts}]::pg_catalog.text[])::pg_catalog.text"


def as_bytes(text: str) -> bytes:
    """Write a text as it is stored: as the server sent it, UTF-8 or not."""
    return text.encode("utf-8", "surrogateescape")


def as_text(data: bytes) -> str:
    """Read what ``as_bytes`` wrote."""
    return data.decode("utf-8", "surrogateescape")
