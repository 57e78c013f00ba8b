"""Repair or undo a small case over and over, each time killed at another statement.

usage: repair_killer.py DSN TEMPLATE INTO repair|undo [POINT...]
DSN leads to the server, TEMPLATE is a database made by ``make``, INTO a directory for runs.
A POINT is ``before:7`` or ``after:7``: the client gets SIGKILL there, and then another one
goes on to the end. Each prints one line of JSON: the point, the number of statements, and
what the database holds at the end. Without points, the work is done undisturbed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

import dedupe
from dedupe.lab.damage import Damage, damage
from dedupe.repair import turns

Statement = Callable[[Any], None]

SMALL = """
CREATE TABLE people (id int8 PRIMARY KEY, name text NOT NULL, note text);
CREATE UNIQUE INDEX people_name ON people (name);
CREATE TABLE seats (id int8 PRIMARY KEY, person int8 NOT NULL REFERENCES people ON DELETE CASCADE,
                    row_no int4 NOT NULL, UNIQUE (person, row_no));
CREATE TABLE letters (id int8 PRIMARY KEY, person int8 REFERENCES people ON DELETE SET NULL,
                      body json);
CREATE TABLE stamps (id int8 PRIMARY KEY, seat int8 NOT NULL REFERENCES seats);
INSERT INTO people SELECT n, 'name ' || n, 'first' FROM generate_series(1, 12) n;
"""
#: six groups, two of them of three
TWINS = (
    "INSERT INTO people SELECT 100 + n, 'name ' || n, 'second' FROM generate_series(1, 6) n",
    "INSERT INTO people SELECT 200 + n, 'name ' || n, 'third' FROM generate_series(1, 2) n",
)
CHILDREN = """
INSERT INTO seats SELECT row_number() OVER (ORDER BY id), id, 1 FROM people WHERE id <> 3;
INSERT INTO seats SELECT 50 + row_number() OVER (ORDER BY id), id, 2 FROM people WHERE id > 100;
INSERT INTO letters SELECT n, (ARRAY[1, 101, 201, 5, 105, NULL])[1 + n % 6], '{"a":1,"a":2}'
    FROM generate_series(1, 20) n;
INSERT INTO stamps SELECT id, id FROM seats;
"""


def make(dsn: str) -> None:
    """Make the small case in an empty database."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(SMALL)
    damage(dsn, "people_name", Damage.LOST_ENTRIES, TWINS)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(CHILDREN)


def copy_of(dsn: str, template: str, name: str, oid: int | None = None) -> str:
    """Copy the case to a database of its own."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        number = "" if oid is None else f" OID {oid}"
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"{number}')
    return make_conninfo(dsn, dbname=name)


def prepare(dsn: str, run: Path, work: str) -> None:
    """Do what comes before the work."""
    found = dedupe.scan(dsn, dedupe.MatchKey.from_index("people_name"), run)
    dedupe.plan(found, keep="oldest", db=dsn)
    if work == "undo":
        act(dsn, run, "repair")


def act(dsn: str, run: Path, work: str) -> None:
    """Do the work, or what is left of it, in batches of two groups."""
    sizes = turns._FIRST_BATCH, turns._LARGEST_BATCH
    turns._FIRST_BATCH = turns._LARGEST_BATCH = 2
    try:
        _act(dsn, run, work)
    finally:
        turns._FIRST_BATCH, turns._LARGEST_BATCH = sizes


def _act(dsn: str, run: Path, work: str) -> None:
    if work == "repair":
        result = dedupe.repair(dedupe.Plan.open(run), db=dsn, execute=True)
        assert result.status == "repaired", result
    else:
        undone = dedupe.undo(dedupe.Run.open(run), db=dsn, execute=True)
        assert undone.status == "undone", undone


def around_statements(before: Statement, after: Statement) -> None:
    """Let something happen before and after each statement that the driver sends."""

    def watched(place: type, name: str) -> None:
        real: Callable[..., Any] = getattr(place, name)

        def call(self: Any, *args: Any, **options: Any) -> Any:
            connection = self if isinstance(self, psycopg.Connection) else self.connection
            before(connection)
            result = real(self, *args, **options)
            after(connection)
            return result

        setattr(place, name, call)

    for name in ("execute", "executemany", "copy"):
        watched(psycopg.Cursor, name)
    for name in ("commit", "rollback"):
        watched(psycopg.Connection, name)


class Deadly:
    """Counts statements, and kills this process at one of them."""

    def __init__(self, point: str | None) -> None:
        side, _, number = (point or "never:0").partition(":")
        self.count = 0

        def before(_: Any) -> None:
            self.count += 1
            if side == "before" and self.count == int(number):
                os.kill(os.getpid(), signal.SIGKILL)

        def after(_: Any) -> None:
            if side == "after" and self.count == int(number):
                os.kill(os.getpid(), signal.SIGKILL)

        around_statements(before, after)


def child(work: Callable[[], None]) -> bool:
    """Run ``work`` in a child; returns whether it ended by itself."""
    pid = os.fork()
    if not pid:
        try:
            work()
        except BaseException:  # noqa: BLE001 - whatever it is, it ends the child
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code not in (0, -signal.SIGKILL):
        sys.exit(f"the child ended with {code}")
    return code == 0


def state(dsn: str) -> dict[str, Any]:
    """Read what the database holds: tables, indexes, and entries of the journal."""
    found: dict[str, Any] = {}
    with psycopg.connect(dsn, autocommit=True) as connection:
        for table in ("people", "seats", "letters", "stamps"):
            rows = connection.execute(f"SELECT t::text FROM {table} t ORDER BY id").fetchall()
            found[table] = [row for (row,) in rows]
        indexes = connection.execute(
            "SELECT concat_ws(' ', pg_get_indexdef(indexrelid), indisvalid, indisready, indislive)"
            " FROM pg_index JOIN pg_class c ON c.oid = indexrelid"
            " WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
        ).fetchall()
        found["indexes"] = [index for (index,) in indexes]
        runs = dedupe.journal_runs(dsn)
        found["runs"] = [(one.state, one.groups) for one in runs]
    entries = Counter(
        f"{entry['action']} {entry['table']} {entry['undone']}"
        for one in runs
        for entry in dedupe.journal_export(dsn, one.id)
    )
    return {**found, "entries": dict(sorted(entries.items()))}


class Prepared:
    """The work as it is about to begin; prepared once where a copy can have the same oid."""

    def __init__(self, dsn: str, template: str, into: Path, work: str) -> None:
        self.dsn, self.template, self.into, self.work = dsn, template, into, work
        self.name = f"{template}_{work}"
        with psycopg.connect(dsn) as connection:
            self.once = connection.info.server_version >= 150000
        self.oid: int | None = None

    def fresh(self, number: int) -> tuple[str, Path]:
        """Give a database and a run of it."""
        run = self.into / str(number)
        if self.oid is not None:
            shutil.copytree(self.into / "first", run)
            return copy_of(self.dsn, f"{self.name}_first", self.name, self.oid), run
        copy = copy_of(self.dsn, self.template, self.name)
        assert child(lambda: prepare(copy, run, self.work))
        if self.once:
            shutil.copytree(run, self.into / "first")
            copy_of(self.dsn, self.name, f"{self.name}_first")
            with psycopg.connect(self.dsn) as connection:
                row = connection.execute(
                    "SELECT oid::int8 FROM pg_database WHERE datname = %s", [self.name]
                ).fetchone()
            assert row
            self.oid = row[0]
        return copy, run

    def drop(self) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{self.name}_first" WITH (FORCE)')


def disturbed(dsn: str, run: Path, work: str, point: str | None) -> dict[str, Any]:
    """Do the work with a kill at a point, and then to its end."""
    counted = run.with_suffix(".count")

    def deadly() -> None:
        counter = Deadly(point)
        act(dsn, run, work)
        counted.write_text(str(counter.count))

    if not child(deadly):
        assert child(lambda: act(dsn, run, work))
    number = int(counted.read_text()) if counted.exists() else 0
    return {"point": point, "statements": number, "state": state(dsn)}


def main() -> None:
    dsn, template, into, work, *points = sys.argv[1:]
    prepared = Prepared(dsn, template, Path(into), work)
    for number, point in enumerate(points or [None]):
        copy, run = prepared.fresh(number)
        print(json.dumps(disturbed(copy, run, work, point)), flush=True)
    prepared.drop()


if __name__ == "__main__":
    main()
