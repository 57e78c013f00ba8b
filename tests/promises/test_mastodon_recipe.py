"""The recipe for Mastodon, on damaged instances of two releases: the manifest decides."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Literal

import psycopg
import pytest
from psycopg import sql

from dedupe import load_recipe, run_recipe
from dedupe.lab import Server
from dedupe.lab.instance import Manifest, check, make_instance
from dedupe.recipes import undo_recipe, verify_recipe

from . import recipe_killer
from .recipe_killer import SIZES

Connection = psycopg.Connection[tuple[object, ...]]
Release = Literal["3.5.3", "4.7"]
ROOT = Path(__file__).parents[2]
SLOW = os.environ.get("PGMEND_SLOW") == "1"
KILLS = 20 if SLOW else 5
#: another one every time; a failure prints it
SEED = int(os.environ.get("PGMEND_SEED", "0")) or random.randrange(1, 1_000_000)


@pytest.fixture
def instance(database: str, lab: Server) -> Iterator[tuple[str, str]]:
    """Give the connection string of an empty database, and the name of a copy to be made."""
    name = f"{psycopg.conninfo.conninfo_to_dict(database)['dbname']}_copy"
    yield database, str(name)
    lab.drop_database(str(name))


def state(dsn: str) -> dict[str, str]:
    """Return a digest of the sorted rows of each table of the application."""
    found = {}
    with psycopg.connect(dsn) as connection:
        for (table,) in tables(connection):
            (digest,) = connection.execute(
                sql.SQL(
                    'SELECT md5(string_agg(t::text, chr(10) ORDER BY t::text COLLATE "C"))'
                    " FROM {} t"
                ).format(sql.Identifier(str(table)))
            ).fetchone() or (None,)
            found[str(table)] = str(digest)
    return found


def tables(connection: Connection) -> list[tuple[object, ...]]:
    return connection.execute(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        " ORDER BY 1"
    ).fetchall()


def ids(dsn: str) -> set[tuple[str, str]]:
    """Return table and id of each row that has one."""
    found = set()
    with psycopg.connect(dsn) as connection:
        for (table,) in connection.execute(
            "SELECT attrelid::regclass::text FROM pg_attribute JOIN pg_class c ON c.oid = attrelid"
            " WHERE attname = 'id' AND c.relkind = 'r' AND relnamespace = 'public'::regnamespace"
        ).fetchall():
            query = sql.SQL("SELECT id::text FROM {}").format(sql.SQL(table))
            found |= {(table, str(number)) for (number,) in connection.execute(query)}
    return found


def journaled(dsn: str) -> set[tuple[str, str]]:
    """Return table and id of each row that the journal says was deleted."""
    with psycopg.connect(dsn) as connection:
        return {
            (str(table), str(number))
            for table, number in connection.execute(
                "SELECT s.table_name, e.before[array_position(s.columns, 'id')]"
                " FROM pgmend.entry e JOIN pgmend.shape s ON s.run = e.run AND s.number = e.shape"
                " WHERE e.action = 'd' AND 'id' = ANY (s.columns)"
            )
        }


@pytest.mark.parametrize(
    ("release", "live"),
    [
        ("3.5.3", False),
        ("4.7", True),
        pytest.param("3.5.3", True, marks=pytest.mark.slow),
        pytest.param("4.7", False, marks=pytest.mark.slow),
    ],
)
def test_all_that_is_damaged_is_repaired_and_can_be_taken_back(
    database: str, release: Release, live: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenario: alone, by surveys and heaps; and beside others, by proved indexes.
    Outcome: a dry run writes nothing; afterwards nothing deviates from the manifest: no
    duplicates, no dangling reference, each child where it belongs; each row that is gone is in
    the journal; every index is unique again; undo brings every row back.
    """
    manifest = make_instance(database, release, statuses=300, seed=SEED)
    print(f"PGMEND_SEED={SEED}")
    before, there = state(database), ids(database)
    for module, name in SIZES:
        monkeypatch.setattr(import_module(f"dedupe.repair.{module}"), name, 0)
    recipe, place = load_recipe("mastodon"), tmp_path / "fix"
    shown = run_recipe(recipe, place, database, live=live)
    assert (shown.status, {one.id for one in shown.undecided}) == (
        "shown", {"local-accounts", "remote-accounts"},
    )
    assert state(database) == before
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT to_regnamespace('pgmend')").fetchone() == (None,)
    done = run_recipe(
        recipe, place, database, live=live, defaults=True, execute=True, reason="a test"
    )
    assert (done.status, [step.id for step in done.steps if step.left]) == ("repaired", [])
    assert check(database, manifest) == []
    assert there - ids(database) == journaled(database)
    # What goes for good was listed before.
    (losses,) = shown.losses
    lost = {("accounts", str((one.row.pk or {}).get("id"))) for one in losses.first}
    assert losses.rows == len(lost)
    assert lost <= journaled(database)
    assert losses.gone["public.statuses"] >= losses.rows
    assert all(one.verification.clean for one in verify_recipe(place, database))
    with psycopg.connect(database) as connection:
        assert connection.execute(
            "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
            " OR indexrelid::regclass::text ~ '^pgmend_'"
            " OR obj_description(indexrelid, 'pg_class') ~ 'pgmend'"
        ).fetchall() == []
    undo_recipe(place, database, execute=True)
    assert state(database) == before


@pytest.mark.grows
@pytest.mark.parametrize("live", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_killed_at_any_moment_it_goes_on_to_the_same_end(
    instance: tuple[str, str], lab: Server, tmp_path: Path, live: bool
) -> None:
    """Scenario: SIGKILL of the client, again and again; the same command each time.
    Outcome: the database is the one that a run without kills leaves.
    """
    print(f"PGMEND_SEED={SEED}")
    dsn, copy = instance
    manifest: Manifest = make_instance(dsn, "4.7", statuses=300, seed=SEED)
    other = lab.create_database(copy, template=psycopg.conninfo.conninfo_to_dict(dsn)["dbname"])
    code, printed = carried_out(other, tmp_path / "whole", 0, live=live)
    assert (code, printed[:1]) == (0, ["repaired"])
    draw = random.Random(SEED)
    statements, kills = int(printed[1]), 0
    while True:
        # Later calls have less to do: short ones first, so that there are enough of them.
        after = draw.randrange(1, 2 * statements // KILLS) if kills < KILLS else 0
        code, printed = carried_out(dsn, tmp_path / "killed", after, live=live)
        if code != -signal.SIGKILL:
            break
        kills += 1
    assert (code, printed[:1]) == (0, ["repaired"])
    assert kills >= KILLS - 1
    assert check(dsn, manifest) == []
    assert state(dsn) == state(other)


def carried_out(dsn: str, place: Path, kill_at: int, *, live: bool) -> tuple[int, list[str]]:
    """Carry the recipe out in a process of its own; returns its exit code and its words."""
    done = subprocess.run(
        [
            sys.executable, recipe_killer.__file__, "mastodon", str(place), dsn, str(kill_at),
            "live" if live else "alone",
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr
    return done.returncode, done.stdout.split()
