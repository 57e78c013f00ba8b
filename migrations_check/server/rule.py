"""What a rule is, and what it is given to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..findings import Said, Voice
from ..snapshots.gate import Demand
from ..snapshots.guard import Guard
from .catalog import Catalog

__all__ = ["Asked", "Look", "Rule", "Said"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked of a check of a server."""

    #: the major version that it is to be upgraded to
    to: int
    #: databases to look at; empty: all that the role may enter
    only: tuple[str, ...] = ()
    #: leave the rows out
    quick: bool = False
    #: sessions that read rows at a time
    jobs: int = 2
    #: where the scans of the keys are kept
    run: Path = Path("pgmend-check")
    #: a file of SQL, or a connection string: what the databases ought to have
    expected: str | None = None
    #: programs of the target's and of the server's own version
    new_bindir: Path | None = None
    old_bindir: Path | None = None
    #: receipts of snapshots, and what is asked of one
    guard: Guard | None = None
    demand: Demand = field(default_factory=Demand)
    #: told of the progress of what takes long
    told: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look(Voice):
    """One rule looking at one database, or at the cluster through one."""

    catalog: Catalog
    asked: Asked
    #: those that are looked at
    databases: tuple[str, ...] = ()

    @property
    def target(self) -> int:
        """The major version that the server is to be upgraded to."""
        return self.asked.to

    def crosses(self, major: int) -> bool:
        """Whether the upgrade goes from before ``major`` to it, or past it."""
        return self.catalog.major < major <= self.target

    def named(self, *parts: str) -> str:
        """Name an object of this database: ``database/schema.name``."""
        return f"{self.catalog.database}/{'.'.join(parts)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One thing to look at before an upgrade."""

    #: its id, and the name of its page in docs/rules
    name: str
    #: looked at once, in each database, or in the tables of each
    scope: Literal["cluster", "database", "rows"]
    look: Callable[[Look], Iterable[Said]]

    def said(
        self, catalog: Catalog, asked: Asked, databases: tuple[str, ...] = ()
    ) -> Iterator[Said]:
        """Look; what fails is unseen, and hides nothing of what others see."""
        at = Look(rule=self.name, catalog=catalog, asked=asked, databases=databases)
        what = "cluster" if self.scope == "cluster" else catalog.database
        yield from at.heard(what, self.look(at))
