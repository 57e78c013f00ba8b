"""Twins of a key that others reference, whose tables are referenced by the same columns in turn."""

from __future__ import annotations

from pathlib import Path

from dedupe import MatchKey, connect, plan, repair, scan
from dedupe.lab import mark_unique

from ..scanning import Connection


def test_a_chain_of_references_by_the_repaired_key_is_left_as_it_is(
    database: str, db: Connection, place: Path
) -> None:
    """Scenario: rooms, tables with the room's name as their own key, and rows that point at them.
    Outcome: nothing is moved, so no key down the chain is in the way.
    """
    db.execute(
        "CREATE TABLE rooms (name text, size int4);"
        "CREATE INDEX rooms_name ON rooms (name);"
        "INSERT INTO rooms VALUES ('a', 1), ('b', 2)"
    )
    mark_unique(database, "rooms_name")
    db.execute(
        "CREATE TABLE joins (name text PRIMARY KEY REFERENCES rooms (name));"
        "CREATE TABLE waiting (id int8 PRIMARY KEY, name text REFERENCES joins);"
        "INSERT INTO joins VALUES ('a'); INSERT INTO waiting VALUES (1, 'a');"
        "UPDATE pg_index SET indisunique = false WHERE indexrelid = 'rooms_name'::regclass"
    )
    db.execute("INSERT INTO rooms VALUES ('a', 3)")
    mark_unique(database, "rooms_name")
    run = scan(connect(database), MatchKey.from_index("rooms_name"), place)
    made = plan(run, keep="size desc", db=database)
    done = repair(made, db=database, execute=True, reason="a test")
    assert done.status == "repaired"
    assert db.execute("SELECT * FROM rooms ORDER BY 1").fetchall() == [("a", 3), ("b", 2)]
    assert db.execute("SELECT * FROM waiting").fetchall() == [(1, "a")]
