"""Who takes part, and what is noted about it.

A contestant is anything that reads a table through: it says its name, and ``run``
lets it work once. A further peer is one more ``Statement`` or one more class with
these two; nothing else has to know it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .table import Table
from .truth import Found


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One contestant's single run over one table."""

    contestant: str
    #: rows of the table
    rows: int
    #: seconds of its work, the start of its process left out
    seconds: float
    #: the part of them that a sweep took
    sweep_seconds: float
    #: seconds from the start of its process to the end
    process_seconds: float
    #: most bytes of memory that its processes held, the server's left out
    rss_bytes: int
    #: bytes and files that the server wrote beside the table to get it done
    temp_bytes: int
    temp_files: int
    #: None for one that does not look for groups
    found: Found | None

    @property
    def net_seconds(self) -> float:
        """Seconds of work less the sweep."""
        return self.seconds - self.sweep_seconds


class Contestant(Protocol):
    """One way to read a table through."""

    @property
    def name(self) -> str:
        """Who it is, for people."""
        ...

    def run(self, table: Table, scratch: Path) -> Outcome:
        """Work once, with ``scratch`` to write to. Raises BenchmarkFailed."""
        ...
