"""Who takes part, and what is noted about it.

A contestant is anything that reads a table through: it says its name, and ``run``
lets it work once. A further peer is one more ``Statement`` or ``Program``, or one more
class with these two; nothing else has to know it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .measure import Measured
from .processes import Limits
from .table import Table
from .truth import Found


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One contestant's single run over one table; all figures are None where it failed."""

    contestant: str
    #: rows of the table
    rows: int
    #: seconds of its work, the start of its process left out
    seconds: float | None = None
    #: the part of them that a sweep took
    sweep_seconds: float = 0.0
    #: seconds from the start of its process to the end
    process_seconds: float | None = None
    #: most bytes of memory that its processes held, the server's left out
    rss_bytes: int | None = None
    #: most private bytes of the server's processes that served it, shared buffers left out;
    #: None also where the server is not on this machine
    server_private_bytes: int | None = None
    #: most bytes that it had in files of its own
    disk_bytes: int | None = None
    #: bytes between it and the server, both ways, scaled from a run over fewer rows
    network_bytes: int | None = None
    #: bytes and files that the server wrote beside the table to get it done
    temp_bytes: int | None = None
    temp_files: int | None = None
    #: None for one that does not look for groups
    found: Found | None = None
    #: whether it found exactly what was planted; None for one that does not look for groups
    complete: bool | None = None
    #: whether it stops at the first group, so that finding fewer is not wrong
    partial: bool = False
    #: whether it can go on where it was killed
    resumes: bool = False
    #: why there are no figures
    failure: str | None = None

    @property
    def net_seconds(self) -> float | None:
        """Seconds of work less the sweep."""
        return None if self.seconds is None else self.seconds - self.sweep_seconds

    @property
    def wrong(self) -> bool:
        """Whether it looked for all groups and did not find exactly the planted ones."""
        return self.complete is False and not self.partial


def noted(
    name: str,
    table: Table,
    done: Measured,
    *,
    seconds: float,
    found: Found | None,
    sweep_seconds: float = 0.0,
    partial: bool = False,
    resumes: bool = False,
) -> Outcome:
    """Put together what was measured of a run and what it said itself."""
    return Outcome(
        contestant=name,
        rows=table.rows,
        seconds=seconds,
        sweep_seconds=sweep_seconds,
        process_seconds=done.seconds,
        rss_bytes=done.rss_bytes,
        server_private_bytes=done.server_private_bytes,
        disk_bytes=done.disk_bytes,
        temp_bytes=done.temp_bytes,
        temp_files=done.temp_files,
        found=found,
        complete=None if found is None else found == table.truth,
        partial=partial,
        resumes=resumes,
    )


class Contestant(Protocol):
    """One way to read a table through."""

    @property
    def name(self) -> str:
        """Who it is, for people."""
        ...

    def run(self, table: Table, scratch: Path, limits: Limits) -> Outcome:
        """Work once, with ``scratch`` to write to. Raises BenchmarkFailed."""
        ...
