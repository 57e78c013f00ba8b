"""What a running server says of its cluster: what a snapshot of it has to cover."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dedupe.connect import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSize:
    """A database of the cluster and its bytes on disk; None where the role may not see them."""

    name: str
    size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster, as it was when it was asked."""

    #: libpq connection string without a secret, of the database that was connected to
    conninfo: str
    system_identifier: int
    timeline: int
    #: position of the write-ahead log: written on a primary, replayed on a standby
    lsn: str
    #: server_version_num, such as 180006
    version: int
    standby: bool
    #: the server's clock, with a time zone
    now: datetime
    databases: tuple[DatabaseSize, ...]
    #: data_directory; None where the role may not see it
    data_directory: Path | None
    #: where tablespaces other than the data directory's lie; None where it cannot be seen
    tablespaces: tuple[Path, ...] | None
    fsync: bool
    full_page_writes: bool

    @property
    def major(self) -> int:
        """The major version, such as 18."""
        return self.version // 10000

    @classmethod
    def of(cls, database: Database) -> Cluster:
        """Ask the server, in one session; reads catalogs only and takes no lock on tables.

        Raises what ``Database.open`` raises, and PermissionDenied where the role may not
        call ``pg_control_system()``.
        """
        raise NotImplementedError
