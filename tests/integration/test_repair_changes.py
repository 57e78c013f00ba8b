"""Others write between the plan and the repair, or hold what the repair needs."""

from __future__ import annotations

import threading
from collections.abc import Callable

import psycopg
import pytest

from dedupe import MatchKey, Plan, RepairProgress, Result, plan, repair, scan, undo
from dedupe.errors import DedupeError, RunInUse, RunMismatch
from dedupe.repair import locking, repairer

from ..promises.repaired import check_indexes, copies
from ..promises.shop import Shop
from ..repairing import unchanged

PEOPLE = (
    "CREATE TABLE people (id int8 PRIMARY KEY, mail text, note text);"
    "CREATE UNIQUE INDEX people_mail ON people (mail);"
    "INSERT INTO people SELECT n, 'p' || n, 'n' FROM generate_series(1, 6) n"
)
TWINS = "INSERT INTO people SELECT 10 + n, 'p' || n, 't' FROM generate_series(1, 4) n"
CHILDREN = (
    "CREATE TABLE c (id int8 PRIMARY KEY, p int8 REFERENCES people ON DELETE CASCADE);"
    "INSERT INTO c SELECT n, 10 + n FROM generate_series(1, 4) n"
)


@pytest.fixture
def people(shop: Shop) -> Shop:
    shop.make(PEOPLE, "people_mail", TWINS, then=CHILDREN)
    return shop


def unguarded(shop: Shop, sql: str) -> None:
    """Write under the index while it lets everything in."""
    shop.server.execute("UPDATE pg_index SET indisunique = false"
                        " WHERE indexrelid = 'people_mail'::regclass")
    with psycopg.connect(shop.dsn, autocommit=True) as other:
        other.execute(sql.encode())
    shop.server.execute("UPDATE pg_index SET indisunique = true"
                        " WHERE indexrelid = 'people_mail'::regclass")


@pytest.mark.parametrize("when", ["before the plan", "after the plan"])
@pytest.mark.parametrize(
    ("change", "stay"),
    [
        ("UPDATE people SET note = 'new' WHERE id = 11", [1, 2, 3, 4, 5, 6]),
        ("UPDATE people SET note = 'new' WHERE id = 1", [1, 2, 3, 4, 5, 6]),
        ("DELETE FROM people WHERE id = 11", [1, 2, 3, 4, 5, 6]),
        ("DELETE FROM people WHERE id = 1", [2, 3, 4, 5, 6, 11]),
        ("UPDATE people SET mail = 'other' WHERE id = 11", [1, 2, 3, 4, 5, 6, 11]),
        ("UPDATE people SET mail = 'p2' WHERE id = 11", [1, 2, 3, 4, 5, 6]),
        ("INSERT INTO people VALUES (0, 'p1', 'older')", [0, 2, 3, 4, 5, 6]),
        ("INSERT INTO people VALUES (25, 'p5', 'late')", [1, 2, 3, 4, 5, 6]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_rows_changed_since_are_looked_at_again(
    people: Shop, change: str, stay: list[int], when: str
) -> None:
    """Outcome: what is a duplicate now is repaired by the same rules, and nothing else goes.
    No newer value is lost, no child is gone, and undo brings back what the repair found.
    """
    run = scan(people.dsn, MatchKey.from_index("people_mail"), people.run)
    if when == "before the plan":
        unguarded(people, change)
    made = plan(run, keep="oldest", db=people.dsn)
    if when == "after the plan":
        unguarded(people, change)
    people.before = copies(people.server)
    people.repaired(made)
    assert people.rows("SELECT id FROM people ORDER BY id") == stay
    lost = people.rows("SELECT c.id FROM c LEFT JOIN people p ON p.id = c.p WHERE p.id IS NULL")
    assert lost == []
    children = 3 if change == "DELETE FROM people WHERE id = 11" else 4
    assert people.rows("SELECT count(*) FROM c") == [children]
    if change.endswith("'new' WHERE id = 1"):
        assert people.rows("SELECT note FROM people WHERE id = 1") == ["new"]
    people.undone(made)


@pytest.mark.parametrize("rewritten", ["before the plan", "after the plan"])
def test_a_table_that_was_rewritten_is_refused(people: Shop, rewritten: str) -> None:
    """Scenario: VACUUM FULL gave every row another address, which may be another row's of old.
    Outcome: nothing is decided or changed by the old addresses.
    """
    run = scan(people.dsn, MatchKey.from_index("people_mail"), people.run)
    made = plan(run, keep="oldest", db=people.dsn)
    people.server.execute("VACUUM FULL people")
    late: dict[str, Callable[[], object]] = {
        "before the plan": lambda: plan(run, keep="oldest", db=people.dsn),
        "after the plan": lambda: repair(made, db=people.dsn, execute=True),
    }
    with pytest.raises(RunMismatch, match="rewritten"):
        late[rewritten]()
    unchanged(people)


def test_a_child_of_a_loser_that_came_after_the_plan_is_moved(people: Shop) -> None:
    made = people.planned("people_mail")
    people.server.execute("INSERT INTO c VALUES (9, 11); UPDATE c SET p = 12 WHERE id = 1")
    people.before = copies(people.server)
    people.repaired(made)
    assert people.rows("SELECT p FROM c ORDER BY id") == [2, 2, 3, 4, 1]
    people.undone(made)


@pytest.mark.parametrize(
    "lock",
    [
        "SELECT FROM people WHERE id = 11 FOR UPDATE",
        pytest.param("SELECT FROM people WHERE id = 1 FOR UPDATE", marks=pytest.mark.slow),
        pytest.param("UPDATE c SET id = id WHERE id = 1", marks=pytest.mark.slow),
    ],
)
def test_a_group_that_others_hold_is_left_until_they_let_go(people: Shop, lock: str) -> None:
    """Scenario: another session holds a row of a group, or its child's, all the while.
    Outcome: the group is left with the reason, the others are repaired; the same call repairs
    it when it is free.
    """
    # Without it one would be built, and that waits for everybody who writes to the table.
    people.server.execute("CREATE INDEX ON c (p)")
    made = people.planned("people_mail")
    with psycopg.connect(people.dsn) as holder:
        holder.execute(lock)
        result = patient(people, made)
        assert (result.status, result.left, result.repaired) == ("left", 1, 3)
        assert len(result.skipped) == 1
        assert "lock" in result.skipped[0][1]
        assert people.rows("SELECT id FROM people WHERE id > 10") == [11]
        holder.rollback()
    again = people.repaired(made)
    assert (again.repaired, again.left) == (4, 0)
    assert people.rows("SELECT count(*) FROM people") == [6]
    people.undone(made)


def patient(shop: Shop, made: Plan) -> Result:
    """Repair without waiting long for locks: the pauses between tries are what is cut."""
    monkeypatch = pytest.MonkeyPatch()
    with monkeypatch.context() as patch:
        patch.setattr(locking, "_LOCK_TRIES", 1)
        patch.setattr(repairer, "MOST_ROUNDS", 1)
        return repair(made, db=shop.dsn, execute=True)


@pytest.mark.parametrize(
    "second",
    ["repair", "undo"],
)
def test_two_at_a_time_are_one_too_many(
    people: Shop, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenario: while a repair is at work, another process repairs or undoes the same run.
    Outcome: it is told that the run is in use, and the first one ends well.
    """
    monkeypatch.setattr(locking, "_LEFTOVER_SECONDS", 0.5)
    made = people.planned("people_mail")
    refused: list[DedupeError] = []
    calls: dict[str, Callable[[], object]] = {
        "repair": lambda: repair(Plan.open(people.run), db=people.dsn, execute=True),
        "undo": lambda: undo(made.run.id, db=people.dsn, execute=True),
    }

    def another(event: RepairProgress) -> None:
        call = calls.pop(second, None) if event.phase == "repairing" else None
        if call is not None:
            thread = threading.Thread(target=told, args=(call, refused))
            thread.start()
            thread.join(60)
            assert not thread.is_alive()

    people.repaired(made, on_progress=another)
    assert [type(error) for error in refused] == [RunInUse]
    check_indexes(people.server)
    people.undone(made)


def told(call: Callable[[], object], errors: list[DedupeError]) -> None:
    try:
        call()
    except DedupeError as error:
        errors.append(error)


def test_a_deadlock_is_tried_again(people: Shop) -> None:
    """Scenario: another session holds a child's row and then waits for the parent's.
    Outcome: one of the two gives way, and the repair ends well.
    """
    made = people.planned("people_mail")
    ready = threading.Event()

    def rival() -> None:
        with psycopg.connect(people.dsn) as other:
            other.execute("UPDATE c SET id = id WHERE p = 11")
            ready.set()
            try:
                other.execute("SELECT pg_sleep(0.5); SELECT FROM people WHERE id = 11 FOR UPDATE")
            except psycopg.Error:
                other.rollback()

    thread = threading.Thread(target=rival)
    thread.start()
    ready.wait(10)
    people.repaired(made)
    thread.join()
    assert people.rows("SELECT p FROM c ORDER BY id") == [1, 2, 3, 4]
