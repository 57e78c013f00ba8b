"""pgmend itself: scan, plan, repair and undo, each in a process of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from ..failure import BenchmarkFailed
from ..measure import OWN_NAME, measured, open_target
from .state import State, state
from .tables import Shape
from .times import Times
from .watch import watching
from .writer import Writes, writing


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one step took and said."""

    name: str
    #: seconds of its work, the start of its process left out
    seconds: float
    #: seconds from the start of its process to the end
    process_seconds: float
    #: most bytes of memory that its process held
    rss_bytes: int
    #: bytes that the server wrote to temporary files
    temp_bytes: int
    #: what the library said of its result
    told: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """A whole repair and its undo."""

    scan: Step
    plan: Step
    repair: Step
    undo: Step
    #: seconds that the transactions of the repair's batches took, and held their locks for
    batches: Times
    #: the same from outside, for the repair and for its undo; None: all were too short to see
    repair_locks: Times | None
    undo_locks: Times | None
    #: what a writer beside it saw, if there was one
    writes: Writes | None
    #: what the tables held after each of the two
    repaired: State
    undone: State

    @property
    def steps(self) -> tuple[Step, ...]:
        """All four, in their order."""
        return (self.scan, self.plan, self.repair, self.undo)

    @property
    def rss_bytes(self) -> int:
        """Most memory that any of them held."""
        return max(step.rss_bytes for step in self.steps)


def run(dsn: str, scratch: Path, shape: Shape, *, writer: bool) -> Ours:
    """Scan, plan, repair and undo in one database. Raises BenchmarkFailed."""
    scan = _step("scan", dsn, scratch)
    plan = _step("plan", dsn, scratch)
    with writing(dsn, shape) if writer else _nobody() as writes, watching(dsn) as repair_locks:
        repair = _step("repair", dsn, scratch)
    batches = _batches(dsn)
    repaired = state(dsn)
    with watching(dsn) as undo_locks:
        undo = _step("undo", dsn, scratch)
    return Ours(
        scan=scan,
        plan=plan,
        repair=repair,
        undo=undo,
        batches=batches,
        repair_locks=repair_locks.times,
        undo_locks=undo_locks.times,
        writes=writes,
        repaired=repaired,
        undone=state(dsn),
    )


def _step(name: str, dsn: str, scratch: Path) -> Step:
    done = measured(
        [sys.executable, "-m", "benchmarks.repair.step", name, open_target(dsn),
         str(scratch / "run")],
        dsn=dsn,
        scratch=scratch,
    )  # fmt: skip
    told = json.loads(done.output)
    return Step(
        name=name,
        seconds=told.pop("seconds"),
        process_seconds=done.seconds,
        rss_bytes=done.rss_bytes,
        temp_bytes=done.temp_bytes,
        told=told,
    )


def _batches(dsn: str) -> Times:
    """Read from the journal how long every batch took. Raises BenchmarkFailed."""
    with psycopg.connect(dsn, application_name=OWN_NAME) as connection:
        rows = connection.execute("SELECT seconds FROM pgmend.batch").fetchall()
    if not rows:
        raise BenchmarkFailed("the journal knows of no batch")
    return Times.of(seconds for (seconds,) in rows)


@contextmanager
def _nobody() -> Iterator[None]:
    yield None
