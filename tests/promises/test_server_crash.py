"""A crash of the server takes back what had not been flushed; the run must not count on that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from dedupe import MatchKey, scan
from dedupe.lab import Server
from dedupe.scan.position import PhysicalOrder, Step

from .heap import groups_found, groups_in_heap, observer

KEY = MatchKey.from_columns("crowd", "name")


def test_transaction_numbers_that_are_given_out_twice(
    own_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenario: transactions end in a rollback, which is flushed seconds later; a scan begins,
    the server crashes, and afterwards rows get the same transaction numbers, on pages that
    the scan has read.
    Outcome: the scan still finds these rows.
    """
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
        connection.execute("CHECKPOINT")
        for _ in range(50):
            connection.execute("BEGIN; SELECT pg_current_xact_id(); ROLLBACK")

    def crash() -> None:
        own_server.stop("immediate")
        own_server.start()
        with psycopg.connect(dsn) as writer:
            writer.execute("INSERT INTO crowd VALUES (3000, 'name 1000', 'twin')")

    real = PhysicalOrder.step
    once = iter([crash])

    def step(order: PhysicalOrder, *args: Any) -> Step:
        found = real(order, *args)
        next(once, lambda: None)()
        return found

    monkeypatch.setattr(PhysicalOrder, "step", step)
    run = scan(dsn, KEY, tmp_path / "run", jobs=1)
    with observer(dsn) as connection:
        truth = groups_in_heap(connection, "crowd", "name")
        row = connection.execute("SELECT ctid::text FROM crowd WHERE id = 3000").fetchone()
    assert row is not None
    assert row[0].startswith("(0,"), "the new row is on a page that was read"
    assert len(truth) == 1
    assert groups_found(run) == truth
