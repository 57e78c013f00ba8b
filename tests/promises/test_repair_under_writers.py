"""Others write to the same tables while a repair runs: nothing of theirs is lost."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from dedupe import MatchKey, plan, repair, scan, verify
from dedupe.lab.damage import Damage, damage

from .heap import Connection, observer

PARENTS, GROUPS, CHILDREN = 6_000, 2_000, 12_000
TWINS = f"generate_series(1, {GROUPS}) n"


@dataclass(slots=True)
class Writer:
    """Somebody who inserts, changes and deletes children, and logs what was committed."""

    dsn: str
    number: int
    parents: list[int]
    stop: threading.Event = field(default_factory=threading.Event)
    #: id of a child to its note; None: deleted
    committed: dict[int, str | None] = field(default_factory=dict)
    #: id of a child to the parent that it was inserted for
    inserted_for: dict[int, int] = field(default_factory=dict)
    refused: int = 0
    #: seconds of each transaction, and when it ended
    times: list[tuple[float, float]] = field(default_factory=list)

    def work(self) -> None:
        dice = random.Random(self.number)
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            step = 0
            while not self.stop.is_set():
                step += 1
                started = time.monotonic()
                try:
                    self._one(connection, dice, step)
                except psycopg.errors.ForeignKeyViolation:
                    # The parent went: the application is told, and nothing dangles.
                    self.refused += 1
                ended = time.monotonic()
                self.times.append((ended, ended - started))
                time.sleep(0.001)

    def _one(self, connection: Connection, dice: random.Random, step: int) -> None:
        mine = [child for child, note in self.committed.items() if note is not None]
        what = dice.random()
        if what < 0.6 or not mine:
            child, parent = 1_000_000 * self.number + step, dice.choice(self.parents)
            connection.execute(
                "INSERT INTO children VALUES (%s, %s, %s)", [child, parent, f"new {step}"]
            )
            self.committed[child] = f"new {step}"
            self.inserted_for[child] = parent
        elif what < 0.9:
            child = dice.choice(mine)
            connection.execute(
                "UPDATE children SET note = %s WHERE id = %s", [f"changed {step}", child]
            )
            self.committed[child] = f"changed {step}"
        else:
            child = dice.choice(mine)
            connection.execute("DELETE FROM children WHERE id = %s", [child])
            self.committed[child] = None

    def p99(self, begin: float, end: float) -> float:
        """Return the time that 99 of 100 transactions stayed below."""
        times = sorted(took for at, took in self.times if begin <= at <= end)
        return times[int(len(times) * 0.99)] if times else 0.0


@pytest.fixture
def world(database: str) -> Iterator[tuple[str, Connection]]:
    with psycopg.connect(database, autocommit=True) as builder:
        builder.execute(
            "CREATE TABLE parents (id int8 PRIMARY KEY, k text, note text);"
            "CREATE UNIQUE INDEX parents_k ON parents (k);"
            f"INSERT INTO parents SELECT n, 'k' || n, 'p' FROM generate_series(1, {PARENTS}) n"
        )
        damage(
            database, "parents_k", Damage.LOST_ENTRIES,
            [f"INSERT INTO parents SELECT {PARENTS} + n, 'k' || n FROM {TWINS}"],
        )
        builder.execute(
            "CREATE TABLE children (id int8 PRIMARY KEY, parent int8 NOT NULL REFERENCES parents"
            " ON DELETE CASCADE, note text);"
            f"INSERT INTO children SELECT n, 1 + n % {PARENTS + GROUPS}, 'old'"
            f" FROM generate_series(1, {CHILDREN}) n;"
            "CREATE INDEX ON children (parent); ANALYZE"
        )
    with observer(database) as reader:
        yield database, reader


def test_nothing_of_the_writers_is_lost(
    world: tuple[str, Connection], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scenario: two writers insert children of duplicates and others, change and delete them,
    before, during and after the repair.
    Outcome: every committed row is there as it was last committed, below the row that
    stayed of its parent's group; no group is left; the writers' p99 is printed.
    """
    dsn, reader = world
    run = scan(dsn, MatchKey.from_index("parents_k"), tmp_path / "run")
    made = plan(run, keep="oldest", db=dsn)
    survivors = {
        int(str((loser.pk or {})["id"])): int(str((decision.survivor.pk or {})["id"]))
        for decision in made.decisions()
        for loser in decision.losers
    }
    # Most of what they insert is for rows of groups.
    parents = [*survivors, *survivors.values(), *range(GROUPS + 1, GROUPS + 200)]
    writers = [Writer(dsn, number, parents) for number in (1, 2)]
    threads = [threading.Thread(target=writer.work) for writer in writers]
    for thread in threads:
        thread.start()
    time.sleep(1.0)
    began = time.monotonic()
    result = repair(made, db=dsn, execute=True)
    ended = time.monotonic()
    time.sleep(0.5)
    for writer in writers:
        writer.stop.set()
    for thread in threads:
        thread.join()

    assert (result.status, result.left) == ("repaired", 0)
    assert verify(run, db=dsn).findings == ()
    found = {
        child: (parent, note)
        for child, parent, note in reader.execute("SELECT * FROM children").fetchall()
    }
    during = 0
    for writer in writers:
        during += sum(1 for at, _ in writer.times if began <= at <= ended)
        for child, note in writer.committed.items():
            if note is None:
                assert child not in found
                continue
            parent = writer.inserted_for[child]
            assert found[child] == (survivors.get(parent, parent), note)
    old = {child for child in found if child <= CHILDREN}
    assert old == set(range(1, CHILDREN + 1)), "no child of the beginning was taken along"
    assert during > 50, "they wrote during the repair"
    assert sum(writer.refused for writer in writers) > 0, "some came for a row that had gone"
    with capsys.disabled():
        before = max(writer.p99(0, began) for writer in writers)
        beside = max(writer.p99(began, ended) for writer in writers)
        print(
            f"\n{during} transactions beside a repair of {ended - began:.1f} s:"
            f" p99 {beside * 1000:.1f} ms, alone {before * 1000:.1f} ms"
        )
