"""A plan with several policies: a group belongs to the first whose ``same`` holds for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dedupe import MatchKey, Plan, repair, scan, undo, verify
from dedupe.connect import connect
from dedupe.planning import make_plan
from dedupe.policy import Keep, Loser, Policy

from ..scanning import Connection

#: merged if both have one owner; of those without one all but the oldest are renamed; the
#: others lose their names
POLICIES = (
    Policy(keep=(Keep.parse("newest"),), same="a.owner = b.owner", merge={"size": "sum"}),
    Policy(
        keep=(Keep.parse("oldest"),),
        same="a.owner IS NULL AND b.owner IS NULL",
        loser=Loser.parse("rename:name"),
    ),
    Policy(keep=(Keep.parse("oldest"),), loser=Loser.parse("blank:name")),
)


@pytest.fixture
def things(db: Connection) -> Connection:
    """Give three groups, one for each policy, and rows that point at all of them."""
    db.execute("CREATE TABLE things (id int8 PRIMARY KEY, name text, owner int, size int)")
    db.execute(
        "INSERT INTO things VALUES (1, 'one', 7, 10), (2, 'one', 7, 20), (3, 'two', NULL, 1),"
        " (4, 'two', NULL, 2), (5, 'two', NULL, 3), (6, 'three', 1, 5), (7, 'three', 2, 6),"
        " (8, 'alone', 9, 9)"
    )
    db.execute("CREATE UNIQUE INDEX things_name ON things (id, name)")
    db.execute(
        "CREATE TABLE parts (id int8 PRIMARY KEY, thing int8 REFERENCES things ON DELETE CASCADE)"
    )
    db.execute("INSERT INTO parts SELECT n, n FROM generate_series(1, 8) n")
    return db


def planned(database: str, place: Path) -> Plan:
    run = scan(database, MatchKey.from_columns("things", "name"), place)
    return make_plan(connect(database), run, 0, POLICIES)


def rows(db: Connection, table: str) -> list[tuple[object, ...]]:
    return db.execute(f"SELECT * FROM {table} ORDER BY id").fetchall()


def test_each_group_is_repaired_by_its_own_policy(
    database: str, things: Connection, place: Path
) -> None:
    """Outcome: merged, renamed and blanked side by side; what points at rows follows."""
    before = {table: rows(things, table) for table in ("things", "parts")}
    plan = planned(database, place)
    assert plan.shares == ((1, 1), (1, 2), (1, 1))
    assert sorted(decision.policy for decision in plan.decisions()) == [0, 1, 2]
    shown = repair(plan)
    assert (shown.status, rows(things, "things")) == ("shown", before["things"])
    done = repair(plan, execute=True, reason="a test")
    assert (done.status, done.repaired, done.left) == ("repaired", 3, 0)
    now = {row[0]: row[1:] for row in rows(things, "things")}
    assert 1 not in now
    assert now[2] == ("one", 7, 30)
    assert now[3][0] == "two"
    assert len({now[n][0] for n in (3, 4, 5)}) == 3
    assert (now[6][0], now[7][0]) == ("three", None)
    assert now[8] == ("alone", 9, 9)
    assert [row[1] for row in rows(things, "parts")] == [2, 2, 3, 4, 5, 6, 7, 8]
    assert verify(plan.run).clean
    taken_back = undo(plan.run, execute=True)
    assert taken_back.status == "undone"
    assert {table: rows(things, table) for table in ("things", "parts")} == before


def test_many_groups_of_each_policy_go_in_batches(
    database: str, things: Connection, place: Path
) -> None:
    """Scenario: a thousand groups of each kind, mixed in the heap; more than a batch holds."""
    things.execute("TRUNCATE parts, things")
    things.execute(
        "INSERT INTO things SELECT n, 'name ' || n / 2, CASE n / 2 % 3 WHEN 0 THEN 1 WHEN 1 THEN"
        " NULL ELSE n END, 1 FROM generate_series(2, 6001) n"
    )
    things.execute("INSERT INTO parts SELECT id, id FROM things")
    plan = planned(database, place)
    assert [groups for groups, _ in plan.shares] == [1000, 1000, 1000]
    done = repair(plan, execute=True, reason="a test")
    assert (done.repaired, done.left) == (3000, 0)
    assert things.execute(
        "SELECT count(*), count(name), count(DISTINCT name), sum(size) FROM things"
    ).fetchone() == (5000, 4000, 4000, 6000)
    assert things.execute(
        "SELECT count(*) FROM parts JOIN things ON things.id = thing"
    ).fetchone() == (6000,)


def test_what_arrives_meanwhile_is_decided_by_the_same_policies(
    database: str, things: Connection, place: Path
) -> None:
    """Scenario: after the plan another row of each group arrives."""
    plan = planned(database, place)
    things.execute(
        "INSERT INTO things VALUES (11, 'one', 7, 5), (12, 'two', NULL, 5), (13, 'three', 3, 5)"
    )
    done = repair(plan, execute=True, reason="a test")
    assert (done.status, done.left) == ("repaired", 0)
    assert things.execute(
        "SELECT id, size FROM things WHERE name = 'one'"
    ).fetchall() == [(11, 35)]
    assert things.execute("SELECT count(*) FROM things WHERE name IS NULL").fetchone() == (2,)
    assert verify(plan.run).clean


def test_of_a_group_those_are_merged_that_may_be(
    database: str, things: Connection, place: Path
) -> None:
    """Scenario: two rows of a group have one owner, the third another, and a fourth none.
    Outcome: the two are merged, and only then is decided about what is left of the group.
    """
    things.execute(
        "INSERT INTO things VALUES (9, 'four', 3, 1), (10, 'four', 4, 2), (11, 'four', NULL, 4),"
        " (12, 'four', 3, 8)"
    )
    things.execute("INSERT INTO parts SELECT n, n FROM generate_series(9, 12) n")
    before = {table: rows(things, table) for table in ("things", "parts")}
    plan = planned(database, place)
    assert any("of 1 groups only some rows may be merged" in note for note in plan.notes)
    result = repair(plan, db=database, execute=True, reason="a test")
    assert (result.status, result.left) == ("repaired", 0)
    assert rows(things, "things")[-3:] == [
        (10, "four", 4, 2), (11, None, None, 4), (12, None, 3, 9),
    ]
    assert rows(things, "parts")[-4:] == [(9, 12), (10, 10), (11, 11), (12, 12)]
    assert verify(plan.run, db=database).clean
    undo(plan.run, db=database, execute=True)
    assert {table: rows(things, table) for table in ("things", "parts")} == before
