"""The groups are those of one snapshot, to the row, whatever is written during the scan.

The truth is read by another session under that very snapshot, which the scan exports.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest

from dedupe import MatchKey, Progress, Run, RunStatus, Session, scan
from dedupe.scan import passes
from dedupe.scan.position import PhysicalOrder, Step

from .heap import Connection, Groups, groups_found, groups_in_heap, observer

ROWS = 40_000
KEY = MatchKey.from_columns("busy", "name")


def busy(connection: Connection) -> None:
    """Make a table with room in its pages, and some pairs."""
    connection.execute(
        f"""
        CREATE TABLE busy (id int8 PRIMARY KEY, name text, filler text)
                WITH (autovacuum_enabled = off);
        INSERT INTO busy SELECT n, 'name ' || n % {ROWS - 200}, repeat('x', 100)
            FROM generate_series(1, {ROWS}) n;
        DELETE FROM busy WHERE id % 13 = 0
        """
    )
    connection.execute("VACUUM ANALYZE busy")


class Writers:
    """Sessions that write in small transactions until they are told to end."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._ended = threading.Event()
        self._numbers = itertools.count(ROWS + 1)
        self.errors: list[psycopg.Error] = []
        self.commits = 0
        works = (self._add, self._change_keys, self._move, self._delete, self._vacuum)
        self._threads = [threading.Thread(target=self._run, args=(work,)) for work in works]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _run(self, work: Callable[[Connection, random.Random], None]) -> None:
        chance = random.Random(work.__name__)
        try:
            with psycopg.connect(self._dsn, autocommit=True) as connection:
                while not self._ended.is_set():
                    work(connection, chance)
                    self.commits += 1
                    self._ended.wait(0.004)
        except psycopg.Error as error:
            self.errors.append(error)

    def _add(self, connection: Connection, chance: random.Random) -> None:
        """Give a twin to a row, or two to a name that is new."""
        name = f"name {chance.randrange(ROWS - 200)}"
        if chance.random() < 0.5:
            name = f"new {next(self._numbers)}"
            self._insert(connection, name)
        self._insert(connection, name)

    def _insert(self, connection: Connection, name: str) -> None:
        connection.execute(
            "INSERT INTO busy VALUES (%s, %s, repeat('n', 100))", [next(self._numbers), name]
        )

    def _change_keys(self, connection: Connection, chance: random.Random) -> None:
        connection.execute(
            "UPDATE busy SET name = %s WHERE id = %s",
            [f"name {chance.randrange(ROWS - 200)}", chance.randrange(1, ROWS)],
        )

    def _move(self, connection: Connection, chance: random.Random) -> None:
        """Move rows between pages by updates that leave the key alone; most of them twins."""
        first = chance.choice((0, ROWS - 200)) + chance.randrange(200)
        connection.execute(
            "UPDATE busy SET filler = repeat('m', %s) WHERE id BETWEEN %s AND %s",
            [chance.randrange(50, 900), first, first + 3],
        )

    def _delete(self, connection: Connection, chance: random.Random) -> None:
        connection.execute(
            "DELETE FROM busy WHERE id = ANY (%s)", [[chance.randrange(1, ROWS) for _ in range(3)]]
        )

    def _vacuum(self, connection: Connection, chance: random.Random) -> None:
        connection.execute(chance.choice(("VACUUM busy", "VACUUM (FREEZE) busy")))
        self._ended.wait(0.2)


def under(dsn: str, snapshot: str) -> Groups:
    """Read the truth of a snapshot that another session holds."""
    with observer(dsn) as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        connection.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
        return groups_in_heap(connection, "busy", "name")


def exported(dsn: str) -> list[str]:
    """List the snapshots that sessions of the whole server hold for others."""
    with psycopg.connect(dsn) as connection:
        return [name for (name,) in connection.execute("SELECT pg_ls_dir('pg_snapshots')")]


def scan_while_busy(dsn: str, place: Path) -> tuple[Run, Groups | None, int]:
    """Scan a table under writers; return the run, the truth, and a transaction of the scan's time.

    Every row with that xmin or a later one was written while the scan went on.
    """
    truth: list[Groups] = []
    during: list[int] = []

    def look(event: Progress) -> None:
        if event.rows and not during:
            with psycopg.connect(dsn) as connection:
                row = connection.execute("SELECT pg_current_xact_id()::text::int8").fetchone()
                assert row is not None
                during.append(row[0])
        if event.phase in (RunStatus.SWEEPING, RunStatus.CONFIRMING) and not truth:
            # Before the first one is seen, it may not have been exported yet.
            truth.extend(under(dsn, name) for name in exported(dsn))

    with Writers(dsn) as writers:
        run = scan(dsn, KEY, place, jobs=2, memory="8MiB", nice=150, on_progress=look)
    assert writers.errors == []
    assert writers.commits > 500
    assert len(truth) < 2
    return run, truth[0] if truth else None, during[0]


def test_the_table_as_of_one_snapshot(database: str, tmp_path: Path) -> None:
    """Scenario: rows come, go, change their keys and move between pages in hundreds of small
    transactions, and vacuum gives their places away, while the scan goes on.
    Outcome: the groups of the scan's snapshot, to the address, many of them made meanwhile.
    """
    with observer(database) as connection:
        busy(connection)
    run, truth, during = scan_while_busy(database, tmp_path / "run")
    found = groups_found(run)
    assert found == truth
    assert run.sweep_seconds > 0
    made = [
        group
        for group in run.groups()
        if sum(int(member.xmin) < during for member in group.members) < 2
    ]
    assert len(made) >= 100


def test_without_the_sweep_groups_are_missed(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outcome: the same comparison tells a scan that leaves its sweep out."""
    truth: list[Groups] = []

    def nothing(_passes: passes.Passes, _spill: Any, snapshot: Any) -> bool:
        truth.append(under(database, snapshot.name))
        return True

    monkeypatch.setattr(passes.Passes, "_sweep", nothing)
    with observer(database) as connection:
        busy(connection)
    run, _, _ = scan_while_busy(database, tmp_path / "run")
    found = groups_found(run)
    assert found != truth[0]
    assert len(found - truth[0]) + len(truth[0] - found) > 100


def after_first_chunk(monkeypatch: pytest.MonkeyPatch, work: Callable[[], None]) -> None:
    """Let ``work`` be done between the first chunk of the main pass and the second."""
    real = PhysicalOrder.step
    once = iter([work])

    def step(order: PhysicalOrder, *args: Any) -> Step:
        found = real(order, *args)
        next(once, lambda: None)()
        return found

    monkeypatch.setattr(PhysicalOrder, "step", step)


def block_of(connection: Connection, number: int) -> int:
    row = connection.execute(
        "SELECT (ctid::text::point)[0]::int FROM busy WHERE id = %s", [number]
    ).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("swept", [True, False])
@pytest.mark.parametrize("way", ["to pages that were read", "to pages that were not"])
def test_a_twin_moves_during_the_scan(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, swept: bool
) -> None:
    """Scenario: an update that leaves the key alone moves a row over the scan's position.
    Outcome: it is in its group, once, at its new address; without the sweep it is not seen on
    its way to a page that was read before.
    """
    back = way == "to pages that were read"
    last = 2000
    moving = last - 50 if back else 3
    with observer(database) as connection:
        connection.execute(
            f"""
            CREATE TABLE busy (id int8 PRIMARY KEY, name text, filler text)
                WITH (autovacuum_enabled = off);
            INSERT INTO busy SELECT n, 'name ' || CASE n WHEN {moving} THEN {last // 2} ELSE n END,
                repeat('x', 450) FROM generate_series(1, {last}) n
            """
        )
        # All pages are full but one; a last page that is not would take the row, too.
        part = block_of(connection, last)
        room = 0 if back else part - 1
        connection.execute(
            f"DELETE FROM busy WHERE ctid >= '({part},0)'"
            f" OR (id % 2 = 0 AND ctid >= '({room},0)' AND ctid < '({room + 1},0)')"
        )
        connection.execute("VACUUM busy")

        def move() -> None:
            with psycopg.connect(database) as writer:
                writer.execute("UPDATE busy SET filler = upper(filler) WHERE id = %s", [moving])

        after_first_chunk(monkeypatch, move)
        if not swept:
            monkeypatch.setattr(passes.Passes, "_sweep", lambda *_: True)
        run = scan(database, KEY, tmp_path / "run", jobs=1)
        assert block_of(connection, moving) == room, "the row moved"
        truth = groups_in_heap(connection, "busy", "name")
    assert {number for _, number, _ in next(iter(truth))} == {moving, last // 2}
    assert len(truth) == 1
    assert groups_found(run) == (set() if back and not swept else truth)


def test_what_was_committed_before_as_of_is_found(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenario: a twin is committed at the very moment at which the snapshot is taken.
    Outcome: it is in a group, or the moment that the run names was before.
    """
    committed: list[datetime] = []
    real = Session.row

    def row(session: Session, query: str, params: Sequence[object] = ()) -> tuple[Any, ...]:
        if "pg_export_snapshot" in query:
            connection.execute("INSERT INTO busy VALUES (1000000, 'name 7', 'late')")
            now = connection.execute("SELECT clock_timestamp()").fetchone()
            assert now is not None
            committed.append(now[0])
        return real(session, query, params)

    with observer(database) as connection:
        busy(connection)
        monkeypatch.setattr(Session, "row", row)
        run = scan(database, KEY, tmp_path / "run")
    found = any(number == 1_000_000 for group in groups_found(run) for _, number, _ in group)
    assert run.as_of is not None
    assert found or run.as_of <= committed[0]


def newest(connection: Connection) -> int:
    row = connection.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text").fetchone()
    assert row is not None
    return int(row[0])


def test_no_sweep_where_nobody_wrote(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outcome: the second reading is left out if, and only if, nothing was written."""
    with observer(database) as connection:
        busy(connection)
        truth = groups_in_heap(connection, "busy", "name")
        for number in range(20):
            before = newest(connection)
            run = scan(database, KEY, tmp_path / f"quiet {number}")
            # The server's own housekeeping writes, too.
            if newest(connection) == before:
                break
        assert run.sweep_seconds == 0
        assert groups_found(run) == truth
        after_first_chunk(monkeypatch, lambda: Writers(database)._insert(connection, "name 7"))
        run = scan(database, KEY, tmp_path / "disturbed", jobs=1)
        assert run.sweep_seconds > 0
        assert groups_found(run) == groups_in_heap(connection, "busy", "name") != truth
