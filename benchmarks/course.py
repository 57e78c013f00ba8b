"""The whole benchmark: tables one after another, contestants in turn, all outcomes kept."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from dedupe.lab import server

from . import machine
from .contest import Contestant, Outcome
from .floor import FLOOR
from .machine import Machine
from .ours import Scan
from .peers import PEERS
from .table import Table, copies_of, one_group, statuses
from .truth import Found

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the benchmark was asked for."""

    rows: int
    rounds: int
    jobs: int
    #: as pgmend's option takes it
    memory: str
    seed: int

    @property
    def tenth(self) -> int:
        """Rows of the smaller table that memory is compared with."""
        return self.rows // 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """One table and every run over it, in the order they happened."""

    rows: int
    heap_bytes: int
    truth: Found
    outcomes: tuple[Outcome, ...]

    def of(self, name: str) -> list[Outcome]:
        """Return the runs of one contestant."""
        return [outcome for outcome in self.outcomes if outcome.contestant == name]

    def net_seconds(self, name: str) -> float:
        """Return the median of a contestant's seconds, sweeps left out."""
        return median(outcome.net_seconds for outcome in self.of(name))

    def rss_bytes(self, name: str) -> int:
        """Return the most memory of any of its runs."""
        return max(outcome.rss_bytes for outcome in self.of(name))

    def temp_bytes(self, name: str) -> int:
        """Return the most temporary bytes of any of its runs."""
        return max(outcome.temp_bytes for outcome in self.of(name))

    @property
    def wrong(self) -> list[Outcome]:
        """Runs that looked for groups and did not find exactly the planted ones."""
        return [run for run in self.outcomes if run.found is not None and run.found != self.truth]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All that was measured."""

    asked: Asked
    machine: Machine
    #: floor, pgmend and peers over statuses
    statuses: Contest
    #: pgmend alone over a tenth of the rows
    tenth: Contest
    #: pgmend alone over rows that are all one group
    one_group: Contest

    @property
    def wrong(self) -> list[Outcome]:
        """Every run that did not find what was planted."""
        return self.statuses.wrong + self.tenth.wrong + self.one_group.wrong


def measure(asked: Asked, tell: Tell) -> Figures:
    """Start a server, build, measure, and remove everything. Raises BenchmarkFailed, LabError.

    PGMEND_LAB_DSN names a server to use instead, as it is set up.
    """
    load = os.getloadavg()[0]
    ours = Scan(jobs=asked.jobs, memory=asked.memory)
    settings = None if os.environ.get("PGMEND_LAB_DSN") else machine.SETTINGS
    with (
        tempfile.TemporaryDirectory(prefix="pgmend-benchmark-") as place,
        server(settings=settings) as lab,
    ):
        scratch = Path(place)
        described = machine.describe(lab, load)
        tell(f"building {asked.tenth:,} statuses")
        with statuses(lab, asked.tenth, asked.seed) as table:
            tenth = _contest(table, [ours], asked.rounds, scratch, tell)
        copies = copies_of(asked.rows)
        tell(f"building {copies:,} rows that are all one group")
        with one_group(lab, copies) as table:
            alike = _contest(table, [ours], 1, scratch, tell)
        tell(f"building {asked.rows:,} statuses")
        with statuses(lab, asked.rows, asked.seed) as table:
            whole = _contest(table, [FLOOR, ours, *PEERS], asked.rounds, scratch, tell)
    return Figures(
        asked=asked, machine=described, statuses=whole, tenth=tenth, one_group=alike
    )


def _contest(
    table: Table, contestants: Sequence[Contestant], rounds: int, scratch: Path, tell: Tell
) -> Contest:
    """Run all in turn, ``rounds`` times, so that a slow minute meets each of them."""
    if table.heap_bytes > machine.available_bytes():
        tell(f"{table.name} does not fit into the page cache: its figures are cold")
    outcomes = []
    for number in range(1, rounds + 1):
        for contestant in contestants:
            turn = f", round {number} of {rounds}" if rounds > 1 else ""
            tell(f"{contestant.name} over {table.rows:,} rows of {table.name}{turn}")
            outcomes.append(contestant.run(table, scratch))
    return Contest(
        rows=table.rows,
        heap_bytes=table.heap_bytes,
        truth=table.truth,
        outcomes=tuple(outcomes),
    )
