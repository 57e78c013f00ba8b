"""What every provider of snapshots does, and the values that pass between it and the guard.

A provider is a way to save a cluster and to get it back: a tool, a storage service, a
file system. It knows its snapshots; what was proved of them, and whether they may be
relied on, is the guard's and stands in receipts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeAlias

from .cluster import Cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One snapshot, as its provider knows it. What is not known is None, and counts as bad."""

    #: the provider's own name for it, unique among its snapshots
    id: str
    #: the moment whose state it holds, with a time zone; the earliest one where it is a span
    taken_at: datetime
    #: whether the provider says that it is finished
    complete: bool
    #: bytes that it takes where it lies
    size: int | None
    #: where it lies, for people: a directory, a repository, a region
    place: str
    #: pg_control's number of the cluster that was saved
    system_identifier: int | None = None
    timeline: int | None = None
    #: position in the write-ahead log from which it can be brought to life
    lsn: str | None = None
    #: the databases that are in it; None for the whole cluster
    databases: tuple[str, ...] | None = None
    #: what else the provider needs to find it again, and the versions of the tools that made it
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What looking at a snapshot showed."""

    passed: bool
    #: what was looked at and how, a sentence each; the failures first
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How far work that takes long has come."""

    #: what is being done, such as "copying"
    doing: str
    #: bytes, or None where the tool does not say
    done: int | None = None
    total: int | None = None


Told: TypeAlias = Callable[[Step], None]


class Scratch(Protocol):
    """A place where a snapshot is brought to life, away from the cluster that it came from."""

    #: programs of the snapshot's major version
    bindir: Path
    #: the data directory: absent or empty until something is restored into it
    data: Path
    #: room for whatever else the restore needs
    directory: Path

    def initialize(self) -> None:
        """Make an empty cluster in ``data`` (for what is loaded, not copied)."""

    def start(self) -> None:
        """Start a server on ``data`` and wait until it has recovered; nothing if it runs."""

    def dsn(self, dbname: str = "postgres") -> str:
        """Return a connection string for the started server."""


class Provider(Protocol):
    """A way to save a cluster and to get it back.

    Every method raises ProviderFailed when the tool or the service failed (after its
    retries), ProgramMissing when a program is not there, and names the remedy. No method
    puts a secret into a message, a value, a file or a command line.
    """

    #: as the settings file calls it
    name: str

    def lacks(self, cluster: Cluster) -> tuple[str, ...]:
        """Say why a snapshot by this provider would not be enough to bring the cluster back.

        A sentence each, before anything is taken; empty when everything is covered.
        """

    def take(self, cluster: Cluster, told: Told) -> Snapshot:
        """Take a snapshot and wait until it is complete.

        Killed in the middle it leaves what ``list`` shows as not complete and ``delete``
        removes.
        """

    def list(self) -> tuple[Snapshot, ...]:
        """Return the snapshots that are there, oldest first; half-finished ones too."""

    def inspect(self, snapshot: Snapshot, told: Told) -> Proof:
        """Prove it as far as can be done without bringing it to life: files, sums, lists.

        A snapshot that is gone is a failed proof, not an error.
        """

    def restore(self, snapshot: Snapshot, scratch: Scratch, told: Told) -> None:
        """Restore it into ``scratch``; the guard starts the server and looks at it.

        Raises RestoreByHand where the provider cannot do that from here.
        """

    def steps_back(self, snapshot: Snapshot, cluster: Cluster | None) -> tuple[str, ...]:
        """Say how to go back to it: commands and what to do between, ids filled in."""

    def delete(self, snapshot: Snapshot) -> None:
        """Remove it; nothing when it is gone already."""
