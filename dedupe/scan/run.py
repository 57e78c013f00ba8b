"""A run: the handle to a run directory, for what it found and how far it is.

It reads the directory when it is asked, needs no server, and is safe to use from any
thread and while another process works on the run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..connect import Target
from ..errors import LocalStorageError, UsageError
from ..groups import Group, read_addresses, read_groups
from ..key import MatchKey
from ..progress import RunStatus
from .checkpoint import STATE_FILE, State, sync_directory
from .directory import REPAIRING_FILE
from .identity import Identity
from .owner import is_owned
from .pace import STOP_FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyResult:
    """What the scan knows of one key; groups are known once it is finished."""

    #: name of the key: its index, or its text
    name: str
    #: schema and name of the table, unquoted
    schema: str
    table: str
    #: rows read that the key covers; what was written during the scan counts with both versions
    rows: int
    #: rows read that the key leaves out: a NULL, or the predicate is not true
    left_out: int
    groups: int
    rows_in_groups: int
    #: rows that shared a digest with another row and the key with none
    false_candidates: int

    @property
    def surplus_rows(self) -> int:
        """Rows too many for the key to be unique."""
        return self.rows_in_groups - self.groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A row or a block that the server could not read."""

    #: schema and name of the leaf, unquoted
    schema: str
    table: str
    block: int
    #: address of the row; None for a whole block
    ctid: str | None
    #: what the server said
    message: str


class Run:
    """A scan and its directory; made by ``scan`` or by ``Run.open``."""

    def __init__(self, path: Path, stop: Callable[[], None] | None = None) -> None:
        """Make a handle; ``stop`` is how the process that works on the run stops it."""
        #: the run directory
        self.path = path
        self._stop = stop
        #: what a finished run saved, and the file that it was read from
        self._known: tuple[tuple[int, int, int], dict[str, Any]] | None = None

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Open the directory of an existing run; needs no server.

        Raises NotARunDirectory, RunDirectoryDamaged, LocalStorageError.
        """
        run = cls(Path(path))
        run._facts()
        return run

    def stop(self) -> None:
        """Ask whoever works on the run to stop at a safe point; callable from any thread.

        ``scan`` then returns within about a second; the run can go on later.
        Raises LocalStorageError where another process's run cannot be told.
        """
        if self._stop is not None:
            self._stop()
            return
        try:
            (self.path / STOP_FILE).touch()
        except OSError as error:
            raise LocalStorageError(
                f"cannot write {self.path / STOP_FILE}: {error.strerror}", path=self.path
            ) from error

    @property
    def id(self) -> str:
        """Name of the run, part of its sessions' application_name."""
        return str(self._facts()["id"])

    @property
    def status(self) -> RunStatus:
        """Where the run is; INTERRUPTED if it is unfinished and nobody works on it."""
        phase = RunStatus(self._facts()["phase"])
        if phase is not RunStatus.FINISHED and not is_owned(self.path):
            return RunStatus.INTERRUPTED
        return phase

    @property
    def fraction(self) -> float:
        """Share of the whole work that is done, 0 to 1."""
        return float(self._facts()["fraction"])

    @property
    def table(self) -> str:
        """Schema and name of the table, unquoted, for people."""
        return self.identity.table

    @property
    def definitions(self) -> tuple[str, ...]:
        """What makes two rows the same under each key, in words and SQL."""
        return self.identity.keys

    @property
    def asked(self) -> tuple[MatchKey, ...]:
        """The keys that were scanned for, as they were named."""
        return tuple(MatchKey.from_json(key) for key in self._facts()["asked"])

    @property
    def identity(self) -> Identity:
        """What the run belongs to."""
        return Identity.from_facts(self._facts()["identity"])

    @property
    def journal_schema(self) -> str | None:
        """Schema of the journal that the run's repair writes; None before it begins.

        Raises LocalStorageError.
        """
        sign = self.path / REPAIRING_FILE
        try:
            return sign.read_text("utf-8", "surrogateescape") if sign.exists() else None
        except OSError as error:
            raise LocalStorageError(
                f"cannot read {sign}: {error.strerror}", path=sign
            ) from error

    def begin_repair(self, journal_schema: str) -> None:
        """Write down that a repair is about to begin, and where its journal is.

        From then on plan and directory are kept as they are. Raises LocalStorageError.
        """
        sign = self.path / REPAIRING_FILE
        new = sign.with_suffix(".new")
        try:
            new.write_text(journal_schema, "utf-8", "surrogateescape")
            new.chmod(0o600)
            with new.open("rb") as written:
                os.fsync(written.fileno())
            new.rename(sign)
            sync_directory(self.path)
        except OSError as error:
            raise LocalStorageError(
                f"cannot write {sign}: {error.strerror}", path=sign
            ) from error

    @property
    def target(self) -> Target:
        """Where the run was made, without a password."""
        return Target(**self._facts()["target"])

    @property
    def started(self) -> datetime:
        """When the run began (UTC)."""
        return datetime.fromisoformat(self._facts()["started"])

    @property
    def as_of(self) -> datetime | None:
        """Moment of the snapshot that the result is true for (UTC); None if unfinished."""
        facts = self._facts()
        if facts["phase"] != RunStatus.FINISHED:
            return None
        return datetime.fromisoformat(facts["as_of"])

    @property
    def seconds(self) -> float:
        """Seconds of work up to the last checkpoint, all sessions together."""
        return float(self._facts()["seconds"])

    @property
    def sweep_seconds(self) -> float:
        """The part of ``seconds`` that the sweep took; 0 where nobody had written."""
        return float(self._facts()["sweep_seconds"])

    @property
    def peak_rss_bytes(self) -> int:
        """Most memory that the client process held."""
        return int(self._facts()["peak_rss_bytes"])

    @property
    def spill_bytes(self) -> int:
        """Size of the spill."""
        return int(self._facts()["spill_length"])

    @property
    def keys(self) -> tuple[KeyResult, ...]:
        """What is known of each key, in their order."""
        return tuple(KeyResult(**key) for key in self._facts()["keys"])

    @property
    def unreadable(self) -> tuple[Unreadable, ...]:
        """Rows and blocks that the server could not read, in heap order."""
        with State.opened(self.path) as state:
            leaves = Identity.from_facts(state.fact("identity")).leaves
            rows = state.unreadable()
        return tuple(
            Unreadable(
                schema=leaves[row.leaf][2],
                table=leaves[row.leaf][3],
                block=row.block,
                ctid=f"({row.block},{row.offset})" if row.offset else None,
                message=row.message,
            )
            for row in rows
        )

    @property
    def events(self) -> tuple[tuple[datetime, str], ...]:
        """What happened to the run beside its work: reconnects, snapshots lost, anew."""
        with State.opened(self.path) as state:
            return tuple((datetime.fromisoformat(at), text) for at, text in state.events())

    def groups(self) -> Iterator[Group]:
        """Stream the groups of a finished run: by key, then by number; memory: one row.

        Raises UsageError while it is unfinished, RunDirectoryDamaged.
        """
        self._check_finished()
        return read_groups(self.path, [key.name for key in self.keys])

    def addresses(self, key: int) -> Iterator[tuple[int, int, Iterator[tuple[int, str, str]]]]:
        """Stream (group, its size, its rows as (leaf's number, ctid, xmin)) of a key.

        ``key`` is its number. A group's rows are to be taken before the next group.
        Raises as ``groups`` does.
        """
        self._check_finished()
        return read_addresses(self.path, key)

    def _check_finished(self) -> None:
        if self.status is not RunStatus.FINISHED:
            raise UsageError(
                f"the scan in {self.path} is not finished; its groups are not known yet",
                hint="Give its scan command again: it goes on where it stopped.",
                path=self.path,
            )

    def _facts(self) -> dict[str, Any]:
        """Read what is saved; of a finished run once, while its file is the same one."""
        try:
            seen = (self.path / STATE_FILE).stat()
            file = seen.st_ino, seen.st_mtime_ns, seen.st_size
        except OSError:
            file = None
        if self._known is not None and self._known[0] == file:
            return self._known[1]
        with State.opened(self.path) as state:
            facts = state.facts()
        if file is not None and facts["phase"] == RunStatus.FINISHED:
            self._known = file, facts
        return facts
