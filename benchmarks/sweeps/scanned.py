"""A scan beside the floor, in turn, over a table that stands ready: medians of the rounds."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ..contest import Outcome
from ..failure import BenchmarkFailed
from ..measure import measured, open_target
from ..ours import Scan
from ..statement import Statement
from ..table import Table, warm

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """Medians of the rounds, and the most memory of any."""

    rows: int
    seconds: float
    sweep_seconds: float
    floor_seconds: float
    rss_bytes: int
    groups: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweeper:
    """What all sweeps have in common."""

    rounds: int
    scratch: Path
    tell: Tell

    def beside(self, table: Table, scan: Scan, floor: Statement, what: str) -> Scanned:
        """Scan and run the floor in turn. Raises BenchmarkFailed where a scan is wrong."""
        ours: list[Outcome] = []
        floors: list[Outcome] = []
        for number in range(self.rounds):
            self.tell(f"{what}, round {number + 1} of {self.rounds}")
            warm(table.dsn, table.name)
            floors.append(self.run(floor, table))
            warm(table.dsn, table.name)
            ours.append(self.run(scan, table))
        return Scanned(
            rows=table.rows,
            seconds=_median(ours, lambda run: run.seconds),
            sweep_seconds=_median(ours, lambda run: run.sweep_seconds),
            floor_seconds=_median(floors, lambda run: run.seconds),
            rss_bytes=max(run.rss_bytes or 0 for run in ours),
            groups=ours[0].found.groups if ours[0].found else 0,
        )

    def run(self, contestant: Scan | Statement, table: Table) -> Outcome:
        """Run one once; raises BenchmarkFailed where it is wrong."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as own:
            outcome = contestant.run(table, Path(own))
        if outcome.wrong:
            raise BenchmarkFailed(f"{outcome.contestant} over {table.name} found other groups")
        return outcome


def scanned_for(table: Table, keys: Sequence[Sequence[str]], scratch: Path) -> dict[str, float]:
    """Scan for some keys in a process of its own; return what ``scanning`` prints."""
    with tempfile.TemporaryDirectory(dir=scratch) as own:
        done = measured(
            [
                sys.executable, "-m", "benchmarks.sweeps.scanning",
                open_target(table.dsn), table.name, json.dumps(keys), str(Path(own, "run")),
            ],
            dsn=table.dsn,
            scratch=Path(own),
        )  # fmt: skip
    told: dict[str, float] = json.loads(done.output)
    return told


def shown(scanned: Scanned, **label: object) -> dict[str, Any]:
    """Return one row of a sweep's results: what was set, and what came of it."""
    return {**label, **asdict(scanned)}


def _median(runs: Sequence[Outcome], figure: Callable[[Outcome], float | None]) -> float:
    return median(value for run in runs if (value := figure(run)) is not None)
