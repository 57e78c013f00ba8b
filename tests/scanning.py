"""Tables whose truth the heap tells, and scans that can be acted upon at a moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from dedupe import Progress, Run, RunStatus
from dedupe.scan import telling, workers
from dedupe.scan.keyorder import KeyOrder
from dedupe.scan.pace import ChunkSize
from dedupe.scan.position import PhysicalOrder

Connection = psycopg.Connection[tuple[Any, ...]]

#: rows of ``rows_of``'s table and the groups of two among them
ROWS, GROUPS = 15_000, 100


def make_table(connection: Connection, name: str = "t", rows: int = ROWS) -> None:
    """Make a table of some eighty blocks whose last rows repeat the keys of the first ones."""
    connection.execute(
        f"CREATE TABLE {name} (id int8 PRIMARY KEY, k text NOT NULL);"
        f" INSERT INTO {name} SELECT n, 'k' || n % {rows - GROUPS}"
        f" FROM generate_series(1, {rows}) n"
    )


def heap_groups(
    connection: Connection, table: str, *expressions: str, where: str = "true"
) -> set[frozenset[str]]:
    """Ask the heap for the truth: groups of rows, each as leaf and ctid, whatever indexes say.

    Rows with a NULL in the key are no duplicates.
    """
    keys = ", ".join(f"({expression})" for expression in expressions)
    complete = " AND ".join(f"({expression}) IS NOT NULL" for expression in expressions)
    with connection.transaction():
        for way in ("indexscan", "indexonlyscan", "bitmapscan"):
            connection.execute(f"SET LOCAL enable_{way} = off")
        found = connection.execute(
            "SELECT array_agg((SELECT relname FROM pg_class c WHERE c.oid = t.tableoid)"
            f" || t.ctid::text) FROM {table} t WHERE ({where}) AND {complete}"
            f" GROUP BY {keys} HAVING count(*) > 1"
        ).fetchall()
    return {frozenset(members) for (members,) in found}


def told_groups(run: Run, key: str | None = None) -> set[frozenset[str]]:
    """Return what a run found, as ``heap_groups`` writes it; one key's, or all."""
    found = [
        frozenset(f"{member.table}{member.ctid}" for member in group.members)
        for group in run.groups()
        if key in (None, group.key_name)
    ]
    assert len(set(found)) == len(found), "each group is told once"
    return set(found)


class Moments:
    """Does something at a moment of a scan; give it to ``scan`` as ``on_progress``.

    Between two chunks it is done in the thread that read the first of them, and as
    confirm begins in the thread that called ``scan``; so with one job the moment is exact.
    """

    def __init__(self) -> None:
        self.events: list[Progress] = []
        #: chunks read in the main pass and in sweeps
        self.chunks = {RunStatus.SCANNING: 0, RunStatus.SWEEPING: 0}
        self._actions: dict[tuple[RunStatus, int], Callable[[], object]] = {}
        self._gate, self._turn = threading.Lock(), threading.Lock()
        #: set when the workers were told to stop
        self.heard = threading.Event()

    def __call__(self, event: Progress) -> None:
        self.events.append(event)
        self._reached(event.phase, 0)

    @property
    def run(self) -> Run:
        """The live run."""
        return self.events[-1].run

    @property
    def messages(self) -> list[str]:
        """What was told."""
        return [event.message for event in self.events if event.message is not None]

    def at(self, phase: RunStatus, chunk: int, action: Callable[[], object]) -> None:
        """Do ``action`` once: after so many chunks of main pass or sweep; 0: as a phase begins."""
        self._actions[phase, chunk] = action

    def stop_at(self, phase: RunStatus, chunk: int = 0) -> None:
        """Stop the run at the moment; a worker waits until it was heard, so it reads no more."""

        def stop() -> None:
            self.heard.clear()
            self.run.stop()
            if threading.current_thread().name.startswith("pgmend-"):
                assert self.heard.wait(10)

        self.at(phase, chunk, stop)

    def wrapped(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Count the chunks that a method ``step`` reads."""

        def counted(order: Any, *arguments: Any) -> Any:
            result = step(order, *arguments)
            swept = getattr(order, "_snapshot", None) is not None
            phase = RunStatus.SWEEPING if swept else RunStatus.SCANNING
            # While something is done, the other workers stand still behind their chunks.
            with self._gate:
                self.chunks[phase] += 1
                self._reached(phase, self.chunks[phase])
            return result

        return counted

    def _reached(self, phase: RunStatus, chunk: int) -> None:
        with self._turn:
            action = self._actions.pop((phase, chunk), None)
        if action is not None:
            action()


class SmallChunks(ChunkSize):
    """Chunks of eight blocks, however long they take."""

    def __init__(self, chunk_bytes: int, block_rows: int, keys: int) -> None:
        super().__init__(chunk_bytes, block_rows, keys)
        self.blocks = 8

    def learn(self, blocks: int, rows: int, seconds: float) -> None:
        del blocks, rows, seconds


def act_on_scans(monkeypatch: pytest.MonkeyPatch) -> Moments:
    """Let scans tell everything, save after each chunk, and be acted upon."""
    made = Moments()
    monkeypatch.setattr(telling, "_EVERY", 0.0)
    monkeypatch.setattr(workers, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(workers, "ChunkSize", SmallChunks)
    cancel = workers._cancel_slow

    def heard(*arguments: Any, **options: Any) -> None:
        made.heard.set()
        cancel(*arguments, **options)

    monkeypatch.setattr(workers, "_cancel_slow", heard)
    for order in (PhysicalOrder, KeyOrder):
        monkeypatch.setattr(order, "step", made.wrapped(order.step))
    return made
