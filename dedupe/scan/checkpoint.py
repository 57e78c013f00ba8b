"""The state of a run on disk: who it is, how far it came, what it could not read.

One SQLite file, every change a transaction with ``synchronous=FULL``, so that a
saved checkpoint is the old one or the new one and never a mix. It knows no SQL
of the server's and nothing of the spill but its length.

Order of a checkpoint: records appended to the spill, the spill synced, then the
length and the positions committed here. A kill between two of them costs the
records behind the committed length, which are cut off and read again.

Source: https://www.sqlite.org/atomiccommit.html
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import LocalStorageError, NotARunDirectory, RunDirectoryDamaged
from ..progress import RunStatus

#: version of everything in a run directory; another one is refused by name
FORMAT_VERSION = 1
STATE_FILE = "state.sqlite"

#: The allowed moves of a run's phase, each with its cause.
TRANSITIONS: Mapping[RunStatus, tuple[RunStatus, ...]] = {
    RunStatus.SCANNING: (
        RunStatus.SCANNING,  # the horizon grew too old: the scan begins anew
        RunStatus.SWEEPING,  # every segment was read, the snapshot is taken
    ),
    RunStatus.SWEEPING: (
        RunStatus.SCANNING,  # the horizon grew too old
        RunStatus.SWEEPING,  # the snapshot was lost: again under a new one
        RunStatus.CONFIRMING,  # the sweep read every block
    ),
    RunStatus.CONFIRMING: (
        RunStatus.SCANNING,  # the horizon grew too old
        RunStatus.SWEEPING,  # the snapshot was lost: again under a new one
        RunStatus.FINISHED,  # the groups are on disk
    ),
    RunStatus.FINISHED: (),
}

#: marks an SQLite file as a run's state (PRAGMA application_id): "pgmd"
_APPLICATION_ID = 0x70676D64

_SCHEMA = f"""
PRAGMA application_id = {_APPLICATION_ID};
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE segment (
    number INTEGER PRIMARY KEY, leaf INTEGER NOT NULL,
    low TEXT NOT NULL, high TEXT, next TEXT, blocks INTEGER NOT NULL);
CREATE TABLE unreadable (
    leaf INTEGER NOT NULL, block INTEGER NOT NULL, offset INTEGER NOT NULL,
    message TEXT NOT NULL, PRIMARY KEY (leaf, block, offset)) WITHOUT ROWID;
CREATE TABLE event (at TEXT NOT NULL, message TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A stretch of one leaf that one worker reads from ``next`` on, chunk by chunk.

    Positions are JSON text: a block number in physical order, a list of key
    texts in key order.
    """

    number: int
    leaf: int
    #: first position
    low: str
    #: position behind the last, None: open-ended
    high: str | None
    #: where to go on; None: all read
    next: str | None
    #: heap blocks that the segment stands for in the progress
    blocks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableRow:
    """A row, or a whole block (offset 0), that the server could not read."""

    leaf: int
    block: int
    offset: int
    message: str


class State:
    """The open state of one run directory; used by one thread."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    @classmethod
    def create(cls, directory: Path, facts: Mapping[str, Any]) -> State:
        """Make the state file of a new run in an empty directory.

        Raises LocalStorageError.
        """
        path = directory / STATE_FILE
        new = path.with_suffix(".new")
        with _reported(path):
            try:
                new.unlink(missing_ok=True)
                connection = _open(new)
                try:
                    new.chmod(0o600)
                    connection.executescript(f"BEGIN;{_SCHEMA}")
                    connection.executemany(
                        "INSERT INTO fact VALUES (?, ?)",
                        [(name, json.dumps(value)) for name, value in facts.items()],
                    )
                    connection.execute("COMMIT")
                finally:
                    connection.close()
                new.rename(path)
                sync_directory(directory)
            except OSError as error:
                raise sqlite3.OperationalError(error.strerror) from error
        return cls(path, _open(path))

    @classmethod
    def load(cls, directory: Path) -> State:
        """Open the state of an existing run.

        Raises NotARunDirectory, RunDirectoryDamaged, LocalStorageError.
        """
        path = directory / STATE_FILE
        if not path.is_file() or is_state(path) is False:
            raise NotARunDirectory(
                f"{directory} is not a run directory of pgmend",
                hint="Name the directory that the scan printed first,"
                " or a path that does not exist yet.",
                path=directory,
            )
        with _reported(path):
            connection = _open(path)
            try:
                _check(connection)
                state = cls(path, connection)
                version = state.fact("format_version")
            except BaseException:
                connection.close()
                raise
        if version != FORMAT_VERSION:
            connection.close()
            raise NotARunDirectory(
                f"{directory} was written in format {version}; this pgmend reads"
                f" format {FORMAT_VERSION}",
                hint="Use the pgmend that wrote it, or begin a new run.",
                path=directory,
            )
        return state

    @classmethod
    @contextmanager
    def opened(cls, directory: Path) -> Iterator[State]:
        """Load the state for the block; raises what ``load`` raises."""
        state = cls.load(directory)
        try:
            yield state
        finally:
            state.close()

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._connection.close()

    @contextmanager
    def commit(self) -> Iterator[None]:
        """Commit everything that the block saves, or nothing."""
        with _reported(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def fact(self, name: str, default: Any = None) -> Any:
        """Return one saved value."""
        with _reported(self.path):
            row = self._connection.execute(
                "SELECT value FROM fact WHERE name = ?", (name,)
            ).fetchone()
            return default if row is None else json.loads(row[0])

    def facts(self) -> dict[str, Any]:
        """Return all saved values."""
        with _reported(self.path):
            rows = self._connection.execute("SELECT name, value FROM fact").fetchall()
            return {name: json.loads(value) for name, value in rows}

    def save_facts(self, **facts: Any) -> None:
        """Save values; only inside ``commit``."""
        self._connection.executemany(
            "INSERT OR REPLACE INTO fact VALUES (?, ?)",
            [(name, json.dumps(value)) for name, value in facts.items()],
        )

    def move(self, to: RunStatus) -> None:
        """Change the phase along TRANSITIONS; only inside ``commit``."""
        now = RunStatus(self.fact("phase"))
        if to not in TRANSITIONS[now]:
            raise ValueError(f"a run does not go from {now} to {to}")
        self.save_facts(phase=to)

    def segments(self) -> list[Segment]:
        """List the segments of the main pass."""
        with _reported(self.path):
            rows = self._connection.execute(
                "SELECT number, leaf, low, high, next, blocks FROM segment ORDER BY number"
            ).fetchall()
        return [
            Segment(number=r[0], leaf=r[1], low=r[2], high=r[3], next=r[4], blocks=r[5])
            for r in rows
        ]

    def replace_segments(self, segments: Iterable[Segment]) -> None:
        """Save the segments of a new main pass; only inside ``commit``."""
        self._connection.execute("DELETE FROM segment")
        self._connection.executemany(
            "INSERT INTO segment VALUES (?, ?, ?, ?, ?, ?)",
            [(s.number, s.leaf, s.low, s.high, s.next, s.blocks) for s in segments],
        )

    def save_positions(self, positions: Mapping[int, str | None]) -> None:
        """Save where segments go on; only inside ``commit``."""
        self._connection.executemany(
            "UPDATE segment SET next = ? WHERE number = ?",
            [(position, number) for number, position in positions.items()],
        )

    def save_unreadable(self, rows: Iterable[UnreadableRow]) -> None:
        """Save rows that could not be read; only inside ``commit``."""
        self._connection.executemany(
            "INSERT OR IGNORE INTO unreadable VALUES (?, ?, ?, ?)",
            [(r.leaf, r.block, r.offset, r.message) for r in rows],
        )

    def forget_unreadable(self) -> None:
        """Forget unreadable rows, for a scan that begins anew; only inside ``commit``."""
        self._connection.execute("DELETE FROM unreadable")

    def unreadable(self) -> list[UnreadableRow]:
        """List rows and blocks that could not be read, in heap order."""
        with _reported(self.path):
            rows = self._connection.execute(
                "SELECT leaf, block, offset, message FROM unreadable ORDER BY 1, 2, 3"
            ).fetchall()
        return [UnreadableRow(leaf=r[0], block=r[1], offset=r[2], message=r[3]) for r in rows]

    def save_event(self, at: str, message: str) -> None:
        """Note something that happened; only inside ``commit``."""
        self._connection.execute("INSERT INTO event VALUES (?, ?)", (at, message))

    def events(self) -> list[tuple[str, str]]:
        """List (time, message) of what happened to the run."""
        with _reported(self.path):
            return self._connection.execute("SELECT at, message FROM event").fetchall()


def _check(connection: sqlite3.Connection) -> None:
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(found)


def sync_directory(directory: Path) -> None:
    """Make a new or renamed entry of ``directory`` survive a power loss."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_state(path: Path) -> bool | None:
    """Tell whether a file is a run's state; None: it is no SQLite file, or cannot be read.

    Source: https://www.sqlite.org/fileformat2.html (the database header)
    """
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except OSError:
        return None
    if len(header) < 100 or not header.startswith(b"SQLite format 3\0"):
        return None
    return int.from_bytes(header[68:72], "big") == _APPLICATION_ID


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, isolation_level=None, timeout=10.0, check_same_thread=False
    )
    connection.execute("PRAGMA synchronous=FULL")
    return connection


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            raise _damaged(path, error) from error
        raise LocalStorageError(
            f"cannot write or read {path}: {error}",
            hint="Make room or mend the directory, then run the same command again:"
            " it goes on from its last checkpoint.",
            path=path,
        ) from error
    except (sqlite3.DatabaseError, json.JSONDecodeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> RunDirectoryDamaged:
    return RunDirectoryDamaged(
        f"{path} is damaged: {error}",
        hint="Begin again with --fresh or another run directory.",
        path=path,
    )
