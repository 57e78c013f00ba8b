"""A repair or an undo that is cut off at any statement goes on to the result of a whole one."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dedupe.errors import FailureError
from dedupe.lab import Server

from . import repair_killer
from .repair_killer import act, copy_of, make, prepare, state

SLOW = os.environ.get("PGMEND_SLOW") == "1"
ROOT = Path(__file__).parents[2]
#: another one every time; a failure prints it
SEED = int(os.environ.get("PGMEND_SEED", "0")) or random.randrange(1, 1_000_000)
#: points of a sample
KILLS, ENDS, CRASHES = 10, (20 if SLOW else 4), (20 if SLOW else 3)
WORKS = ["repair", "undo"]


class Case:
    """The small case on a server, as a template."""

    def __init__(self, server: Server, directory: Path) -> None:
        self.server, self.directory = server, directory
        self.template = f"small_{os.getpid()}_{random.randrange(1 << 30)}"
        make(server.create_database(self.template))

    def copy(self, work: str) -> tuple[str, Path]:
        """Give a copy in which the work is about to begin, and its run."""
        dsn = copy_of(self.server.dsn(), self.template, f"{self.template}_{work}")
        run = self.directory / f"run{random.randrange(1 << 60)}"
        prepare(dsn, run, work)
        return dsn, run

    def killed(self, work: str, *points: str) -> list[dict[str, Any]]:
        """Run the killer; return what it printed for each point."""
        into = self.directory / f"killed{random.randrange(1 << 60)}"
        into.mkdir()
        killer = Path(repair_killer.__file__)
        done = subprocess.run(
            [
                *(sys.executable, str(killer), self.server.dsn(), self.template),
                *(str(into), work, *points),
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=3600 if SLOW else 300,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout.count(chr(10))} points, then: {done.stderr}"
        return [json.loads(line) for line in done.stdout.splitlines()]

    def drop(self) -> None:
        for name in (self.template, *(f"{self.template}_{work}" for work in WORKS)):
            self.server.drop_database(name)


@pytest.fixture
def small(lab: Server, tmp_path: Path) -> Iterator[Case]:
    made = Case(lab, tmp_path)
    yield made
    made.drop()


def check_whole(work: str, whole: dict[str, Any]) -> None:
    """Make sure that the work did something that a kill can spoil."""
    assert len(whole["people"]) == (12 if work == "repair" else 20)
    entries = whole["entries"]
    undone = work == "undo"
    assert entries[f"delete people {undone}"] == 8
    assert entries[f"delete seats {undone}"] > 0
    assert entries[f"update seats {undone}"] > 0
    assert entries[f"update letters {undone}"] > 0


def sample(statements: int, points: int) -> list[int]:
    """Choose statements: the first, the last, and some between."""
    chosen = random.Random(SEED)
    middle = range(2, statements)
    return sorted({1, statements, *chosen.sample(middle, min(points, len(middle)))})


@pytest.mark.parametrize("work", WORKS)
def test_killed_at_a_sample_of_statements(small: Case, work: str) -> None:
    """Scenario: SIGKILL of the client before or after one of its statements; the same again.
    Outcome: tables, indexes and journal are those of a client that nobody killed.
    """
    print(f"PGMEND_SEED={SEED}")
    (whole,) = small.killed(work)
    check_whole(work, whole["state"])
    numbers = sample(whole["statements"], KILLS - 2)
    points = [f"{random.choice(['before', 'after'])}:{number}" for number in numbers]
    for one in small.killed(work, *points):
        assert one["state"] == whole["state"], one["point"]


@pytest.mark.slow
@pytest.mark.parametrize("work", WORKS)
def test_killed_at_every_statement(small: Case, work: str) -> None:
    """Scenario and outcome: as above, before and after every statement."""
    (whole,) = small.killed(work)
    check_whole(work, whole["state"])
    numbers = range(1, whole["statements"] + 1)
    points = [f"{side}:{number}" for number in numbers for side in ("before", "after")]
    for one in small.killed(work, *points):
        assert one["state"] == whole["state"], one["point"]


class Disturber:
    """Does something before one of the statements of this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self._at = 0, 0
        self._action: Callable[[int], None] | None = None
        for place, names in (
            (psycopg.Cursor, ("execute", "executemany", "copy")),
            (psycopg.Connection, ("commit", "rollback")),
        ):
            for name in names:
                # Kept, so that it is put back after the test.
                monkeypatch.setattr(place, name, getattr(place, name))
        repair_killer.around_statements(self._before, lambda _: None)

    def at(self, number: int, action: Callable[[int], None]) -> None:
        """Do ``action`` with the backend's process before statement ``number`` from now."""
        self.count, self._at, self._action = 0, number, action

    def _before(self, connection: psycopg.Connection[Any]) -> None:
        self.count += 1
        if self.count == self._at and (action := self._action) is not None:
            self._action = None
            action(connection.info.backend_pid)


def through(dsn: str, run: Path, work: str) -> None:
    """Begin the work again until it ends."""
    for _ in range(5):
        try:
            act(dsn, run, work)
        except FailureError as error:
            print(f"{type(error).__name__}: {error}")
        else:
            return
    pytest.fail("the work does not end")


def disturb(case: Case, disturber: Disturber, work: str, points: int, action: Any) -> None:
    """Disturb the work at a sample of statements; compare with the undisturbed result."""
    print(f"PGMEND_SEED={SEED}")
    dsn, run = case.copy(work)
    disturber.at(0, lambda _: None)
    act(dsn, run, work)
    statements = disturber.count
    whole = state(dsn)
    check_whole(work, whole)
    for number in sample(statements, points - 2):
        dsn, run = case.copy(work)
        disturber.at(number, action)
        through(dsn, run, work)
        disturber.at(0, lambda _: None)
        assert json.dumps(state(dsn)) == json.dumps(whole), f"before statement {number}"


@pytest.mark.parametrize("work", WORKS)
def test_its_backend_is_ended(
    small: Case, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    """Scenario: pg_terminate_backend before one of the statements.
    Outcome: the work goes on by itself or when it is begun again; the result is the same.
    """

    def end(pid: int) -> None:
        with psycopg.connect(small.server.dsn(), autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])

    disturb(small, Disturber(monkeypatch), work, ENDS, end)


@pytest.mark.parametrize("work", WORKS)
def test_the_server_crashes(
    own_server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, work: str
) -> None:
    """Scenario: the server stops at once before one of the statements, and is started again.
    Outcome: the work goes on by itself or when it is begun again; the result is the same.
    """

    def crash(_: int) -> None:
        own_server.stop("immediate")
        own_server.start()

    disturb(Case(own_server, tmp_path), Disturber(monkeypatch), work, CRASHES, crash)
