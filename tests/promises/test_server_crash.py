"""A crash of the server takes back what had not been flushed; the run must not count on that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dedupe import MatchKey, Run, scan
from dedupe.lab import Server
from dedupe.scan.position import PhysicalOrder, Step

from .heap import Connection, groups_found, groups_in_heap, observer

KEY = MatchKey.from_columns("crowd", "name")
Hooks = Callable[[Callable[[], None], Callable[[], None]], None]


@pytest.fixture
def lazy(own_server: Server) -> Iterator[Connection]:
    """Make a table on a server that flushes nothing for seconds unless somebody waits for it."""
    dsn = own_server.create_database("crowd")
    with observer(dsn) as connection:
        for setting in ("wal_writer_delay = '3s'", "autovacuum = off"):
            connection.execute(f"ALTER SYSTEM SET {setting}")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute(
            "CREATE TABLE crowd (id int8 PRIMARY KEY, name text, filler text);"
            " INSERT INTO crowd SELECT n, 'name ' || n, repeat('x', 450)"
            " FROM generate_series(1, 2000) n; DELETE FROM crowd WHERE id < 8"
        )
        connection.execute("VACUUM crowd")
        yield connection


@pytest.fixture
def around_first_chunk(monkeypatch: pytest.MonkeyPatch) -> Hooks:
    """Give a function that lets things happen before and after the first chunk is read."""
    real = PhysicalOrder.step

    def install(before: Callable[[], None], after: Callable[[], None]) -> None:
        first, second = iter([before]), iter([after])

        def step(order: PhysicalOrder, *args: Any) -> Step:
            next(first, lambda: None)()
            found = real(order, *args)
            next(second, lambda: None)()
            return found

        monkeypatch.setattr(PhysicalOrder, "step", step)

    return install


def crash(server: Server) -> None:
    server.stop("immediate")
    server.start()


def insert_twin(dsn: str) -> None:
    with psycopg.connect(dsn) as writer:
        writer.execute("INSERT INTO crowd VALUES (3000, 'name 1000', 'twin')")


def check_twin(dsn: str, run: Run) -> None:
    """Check that the twin was found, and that it stands on a page that was read before."""
    with observer(dsn) as connection:
        truth = groups_in_heap(connection, "crowd", "name")
        row = connection.execute("SELECT ctid::text FROM crowd WHERE id = 3000").fetchone()
    assert row is not None
    assert row[0].startswith("(0,"), "the new row is on a page that was read"
    assert len(truth) == 1
    assert groups_found(run) == truth


def test_transaction_numbers_that_are_given_out_twice(
    own_server: Server, lazy: Connection, around_first_chunk: Hooks, tmp_path: Path
) -> None:
    """Scenario: transactions end in a rollback, which is flushed seconds later; a scan begins,
    the server crashes, and afterwards rows get the same transaction numbers, on pages that
    the scan has read.
    Outcome: the scan still finds these rows.
    """
    dsn = own_server.dsn("crowd")
    lazy.execute("CHECKPOINT")
    for _ in range(50):
        lazy.execute("BEGIN; SELECT pg_current_xact_id(); ROLLBACK")

    def crash_and_write() -> None:
        crash(own_server)
        insert_twin(dsn)

    around_first_chunk(lambda: None, crash_and_write)
    run = scan(dsn, KEY, tmp_path / "run", jobs=1)
    check_twin(dsn, run)


def test_a_horizon_that_a_crash_takes_back(
    own_server: Server, lazy: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenario: as above, but the row is written once its page has been read again.
    Outcome: the horizon was taken again after the crash, and the sweep finds the row.
    """
    dsn = own_server.dsn("crowd")
    lazy.execute("CHECKPOINT")
    for _ in range(50):
        lazy.execute("BEGIN; SELECT pg_current_xact_id(); ROLLBACK")

    real = PhysicalOrder.step
    first_page_read = iter([lambda: crash(own_server), lambda: insert_twin(dsn)])

    def step(order: PhysicalOrder, *args: Any) -> Step:
        found = real(order, *args)
        if args[3] == "0":
            next(first_page_read, lambda: None)()
        return found

    monkeypatch.setattr(PhysicalOrder, "step", step)
    run = scan(dsn, KEY, tmp_path / "run", jobs=1)
    check_twin(dsn, run)


def test_a_row_that_lives_again(
    own_server: Server, lazy: Connection, around_first_chunk: Hooks, tmp_path: Path
) -> None:
    """Scenario: a row is deleted by a commit that waits for no flush, the scan reads its page,
    and the server crashes, so that the row was never deleted.
    Outcome: the scan finds it.
    """
    dsn = own_server.dsn("crowd")
    lazy.execute("UPDATE crowd SET name = 'name 9' WHERE id = 1900")

    def delete() -> None:
        with psycopg.connect(dsn, autocommit=True) as writer:
            writer.execute("SET synchronous_commit = off")
            writer.execute("DELETE FROM crowd WHERE id = 9")

    around_first_chunk(delete, lambda: crash(own_server))
    run = scan(dsn, KEY, tmp_path / "run", jobs=1)
    with observer(dsn) as connection:
        truth = groups_in_heap(connection, "crowd", "name")
    assert {number for _, number, _ in next(iter(truth))} == {9, 1900}, "the row lives again"
    assert groups_found(run) == truth
