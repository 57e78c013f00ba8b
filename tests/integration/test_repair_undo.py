"""What a repair did can be taken back: whole, in part, twice, and never over others' changes."""

from __future__ import annotations

import threading

import psycopg
import pytest

from dedupe import (
    Plan,
    journal_drop,
    journal_export,
    journal_runs,
    plan,
    repair,
    scan,
    undo,
    verify,
)
from dedupe.errors import (
    LockNotAvailable,
    RefusedError,
    RepairStopped,
    UndoRefused,
    UnknownObject,
    UsageError,
)
from dedupe.key import MatchKey
from dedupe.progress import RepairProgress
from dedupe.repair import plainindex, telling

from ..promises.repaired import copies
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
    "INSERT INTO c SELECT n, 10 + n FROM generate_series(1, 4) n;"
    "INSERT INTO c SELECT 10 + n, n FROM generate_series(1, 6) n"
)


@pytest.fixture
def people(shop: Shop) -> Shop:
    shop.make(PEOPLE, "people_mail", TWINS, then=CHILDREN)
    return shop


def number_of(made: Plan, loser: int) -> int:
    """Give the number of the group that a row goes from."""
    return next(
        one.group for one in made.decisions() if any(m.pk == {"id": str(loser)} for m in one.losers)
    )


def test_rows_changed_since_are_left_and_listed(people: Shop) -> None:
    """Scenario: after the repair one child is given to somebody else, one is deleted.
    Outcome: these two are named and left; all the rest comes back, at once and when asked again.
    """
    made = people.planned("people_mail")
    people.repaired(made)
    people.server.execute("UPDATE c SET p = 6 WHERE id = 1; DELETE FROM c WHERE id = 2")
    undone = undo(made.run, db=people.dsn, execute=True)
    assert undone.status == "partly"
    assert len(undone.refused) == 2
    assert all("public.c" in line for line in undone.refused)
    assert undone.restored == {"public.people": 4}
    assert undone.put_back == {"public.c": 2}
    assert people.rows("SELECT p FROM c WHERE id < 10 ORDER BY id") == [6, 13, 14]
    assert people.rows("SELECT count(*) FROM people") == [10]
    again = undo(made.run, db=people.dsn, execute=True)
    assert (again.status, len(again.refused), again.restored) == ("partly", 2, {})
    (known,) = journal_runs(people.dsn)
    assert (known.state, known.entries) == ("left", 2)


def test_a_row_that_somebody_inserted_meanwhile_is_not_overwritten(people: Shop) -> None:
    """Scenario: after the repair somebody inserts a row with the primary key of a deleted one.
    Outcome: that group is refused by name, the others come back.
    """
    made = people.planned("people_mail")
    people.repaired(made)
    people.server.execute("INSERT INTO people VALUES (11, 'new', 'mine')")
    undone = undo(made.run, db=people.dsn, execute=True)
    assert (undone.status, len(undone.refused)) == ("partly", 1)
    assert undone.restored == {"public.people": 3}
    assert people.rows("SELECT mail FROM people WHERE id = 11") == ["new"]
    assert people.rows("SELECT p FROM c WHERE id < 10 ORDER BY id") == [1, 12, 13, 14]
    people.server.execute("DELETE FROM people WHERE id = 11")
    assert undo(made.run, db=people.dsn, execute=True).status == "undone"
    unchanged(people)


def test_some_groups_come_back_and_the_others_later(people: Shop) -> None:
    made = people.planned("people_mail")
    people.repaired(made)
    first = undo(made.run, db=people.dsn, execute=True, groups=[number_of(made, 12)])
    assert (first.status, first.restored, first.put_back) == (
        "undone",
        {"public.people": 1},
        {"public.c": 1},
    )
    assert people.rows("SELECT id FROM people WHERE id > 10") == [12]
    again = undo(made.run, db=people.dsn, execute=True, groups=[number_of(made, 12)])
    assert (again.restored, again.put_back, again.refused) == ({}, {}, ())
    people.undone(made)


def test_groups_that_changed_one_row_come_back_together(shop: Shop) -> None:
    """Scenario: one child row points at losers of two groups.
    Outcome: one of them alone is refused, and the error says which others to name.
    """
    shop.make(
        PEOPLE,
        "people_mail",
        TWINS,
        then="CREATE TABLE pairs (id int8 PRIMARY KEY, a int8 REFERENCES people, b int8"
        " REFERENCES people); INSERT INTO pairs VALUES (1, 11, 12), (2, 12, 3), (3, 13, 1)",
    )
    made = shop.planned("people_mail")
    shop.repaired(made)
    one, two = sorted(number_of(made, loser) for loser in (11, 12))
    with pytest.raises(UndoRefused) as refused:
        undo(made.run, db=shop.dsn, execute=True, groups=[one])
    assert f"--group {one} --group {two}" in str(refused.value.hint)
    assert undo(made.run, db=shop.dsn, execute=True, groups=[one, two]).refused == ()
    assert shop.rows("SELECT a, b FROM pairs ORDER BY id") == [(11, 12), (12, 3), (3, 1)]
    shop.undone(made)


def test_shown_first_and_nothing_is_written(people: Shop) -> None:
    made = people.planned("people_mail")
    people.repaired(made)
    before = people.rows("SELECT count(*), max(id) FROM people")
    shown = undo(made.run, db=people.dsn)
    assert (shown.status, shown.restored, shown.put_back, shown.refused) == (
        "shown",
        {"public.people": 4},
        {"public.c": 4},
        (),
    )
    assert any("people_mail" in line for line in shown.statements)
    assert people.rows("SELECT count(*), max(id) FROM people") == before
    (known,) = journal_runs(people.dsn)
    assert known.state == "repaired"


def test_given_twice_it_changes_nothing(people: Shop) -> None:
    made = people.planned("people_mail")
    people.repaired(made)
    people.undone(made)
    again = undo(made.run, db=people.dsn, execute=True)
    assert (again.status, again.already_done) == ("undone", True)
    unchanged(people)
    with pytest.raises(RefusedError):
        repair(made, db=people.dsn, execute=True)


def test_by_the_id_that_the_journal_lists(people: Shop) -> None:
    """Scenario: the run directory is gone; there is the database alone."""
    made = people.planned("people_mail")
    people.repaired(made, reason="a rehearsal")
    (known,) = journal_runs(people.dsn)
    assert (known.id, known.table, known.reason) == (made.run.id, "public.people", "a rehearsal")
    assert verify(known.id, db=people.dsn).clean
    assert undo(known.id, db=people.dsn, execute=True).status == "undone"
    unchanged(people)


def test_what_was_never_repaired_is_refused(people: Shop) -> None:
    made = people.planned("people_mail")
    with pytest.raises(UnknownObject):
        undo(made.run, db=people.dsn, execute=True)
    with pytest.raises(UnknownObject):
        undo("0123456789abcdef", db=people.dsn, execute=True)
    with pytest.raises(UnknownObject):
        list(journal_export(people.dsn, "0123456789abcdef"))
    unchanged(people)


def test_a_repair_that_was_stopped_can_be_undone(
    people: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenario: the repair is stopped after its first batch, and taken back.
    Outcome: everything is as it was, no helper index is left, and the repair will not go on.
    """
    made = people.planned("people_mail", max_groups=4)
    # Every batch is told of, however short it was.
    monkeypatch.setattr(telling, "_EVERY", 0.0)
    stop = threading.Event()

    def after_one(event: RepairProgress) -> None:
        if event.groups_done:
            stop.set()

    with pytest.raises(RepairStopped):
        repair(made, db=people.dsn, execute=True, stop=stop, on_progress=after_one)
    (known,) = journal_runs(people.dsn)
    assert known.state == "repairing"
    with pytest.raises(RefusedError):
        journal_drop(people.dsn, known.id)
    people.undone(made)
    assert people.rows("SELECT relname FROM pg_class WHERE relname ~ '^pgmend_'") == []


def test_deleted_rows_come_into_a_side_table(shop: Shop) -> None:
    """Scenario: the key is the primary key, which others reference; nothing shall be dropped.
    Outcome: the deleted rows stand in a table beside, and nothing else is touched.
    """
    shop.make(
        "CREATE TABLE people (id int8 PRIMARY KEY, stamp int4 GENERATED ALWAYS AS (1) STORED,"
        " pad char(4)); INSERT INTO people VALUES (1), (2)",
        "people_pkey",
        "INSERT INTO people (id, pad) VALUES (1, 'x')",
        then="CREATE TABLE c (p int8 REFERENCES people); INSERT INTO c VALUES (1)",
    )
    made = shop.planned("people_pkey", keep="pad")
    shop.repaired(made)
    with pytest.raises(UndoRefused) as refused:
        undo(made.run, db=shop.dsn, execute=True)
    reasons = " ".join(map(str, refused.value.reasons))
    assert "people_pkey" in reasons
    assert "c_p_fkey" in reasons
    side = undo(made.run, db=shop.dsn, execute=True, side_table=True)
    assert side.restored == {"pgmend.restored_people": 1}
    assert shop.rows("SELECT id, pad FROM pgmend.restored_people") == [(1, None)]
    assert shop.rows("SELECT id, pad FROM people ORDER BY id") == [(1, "x   "), (2, None)]
    undone = undo(
        made.run, db=shop.dsn, execute=True, drop_constraints=["people_pkey", "c_p_fkey"]
    )
    assert undone.status == "undone"
    unchanged(shop)
    assert any("FOREIGN KEY" in line for line in undone.statements)
    assert any("PRIMARY KEY" in line for line in undone.statements)


def test_the_statements_restore_what_was_dropped(shop: Shop) -> None:
    shop.make(
        "CREATE TABLE people (id int8 PRIMARY KEY); INSERT INTO people VALUES (1), (2)",
        "people_pkey",
        "INSERT INTO people VALUES (1)",
        then="CREATE TABLE c (p int8 REFERENCES people ON DELETE CASCADE);"
        "INSERT INTO c VALUES (1)",
    )
    made = shop.planned("people_pkey", keep="id")
    shop.repaired(made)
    undone = undo(
        made.run, db=shop.dsn, execute=True, drop_constraints=["people_pkey", "c_p_fkey"]
    )
    unchanged(shop)
    shop.server.execute(
        "DELETE FROM people WHERE ctid = (SELECT max(ctid) FROM people WHERE id = 1)"
    )
    for statement in undone.statements:
        shop.server.execute(statement.encode())
    with pytest.raises(psycopg.errors.UniqueViolation):
        shop.server.execute("INSERT INTO people VALUES (1)")
    shop.server.execute("DELETE FROM people WHERE id = 1")
    assert shop.rows("SELECT * FROM c") == []


@pytest.mark.parametrize("change", ["ADD more text DEFAULT 'new'", "ALTER note TYPE varchar(90)"])
def test_a_table_that_was_altered_meanwhile(people: Shop, change: str) -> None:
    """Outcome: the rows come back with what they had; a column that is new holds its default."""
    made = people.planned("people_mail")
    people.repaired(made)
    people.server.execute(f"ALTER TABLE people {change}".encode())
    undone = undo(made.run, db=people.dsn, execute=True)
    assert (undone.status, undone.refused) == ("undone", ())
    assert people.rows("SELECT id, note FROM people WHERE id > 10 ORDER BY 1") == [
        (number, "t") for number in range(11, 15)
    ]


def test_a_column_that_is_gone_is_refused_by_name(people: Shop) -> None:
    made = people.planned("people_mail")
    people.repaired(made)
    people.server.execute("ALTER TABLE people DROP note")
    with pytest.raises(UnknownObject, match="note"):
        undo(made.run, db=people.dsn, execute=True)
    assert people.rows("SELECT count(*) FROM people") == [6]


def test_the_journal_tells_all_and_can_be_dropped(people: Shop) -> None:
    made = people.planned("people_mail")
    people.repaired(made)
    entries = list(journal_export(people.dsn, made.run.id))
    assert sorted((e["action"], e["table"]) for e in entries) == [
        *[("delete", "people")] * 4,
        *[("update", "c")] * 4,
    ]
    mine = [number_of(made, 11)]
    deleted = next(e for e in entries if e["action"] == "delete" and e["groups"] == mine)
    assert dict(zip(deleted["columns"], deleted["before"], strict=True)) == {
        "id": "11",
        "mail": "p1",
        "note": "t",
    }
    journal_drop(people.dsn, made.run.id)
    assert journal_runs(people.dsn) == []
    with pytest.raises(UnknownObject):
        undo(made.run, db=people.dsn, execute=True)


def twice_repaired(people: Shop) -> tuple[Plan, Plan]:
    """Repair two keys: the second repair deletes rows that the first one changed."""
    people.server.execute("ALTER TABLE c ADD code text; UPDATE c SET code = id % 5")
    people.before = copies(people.server)
    first = people.planned("people_mail")
    assert repair(first, db=people.dsn, execute=True).status == "repaired"
    second = plan(
        scan(people.dsn, MatchKey.from_columns("c", "code"), people.run.with_name("second")),
        keep="newest",
        db=people.dsn,
    )
    assert repair(second, db=people.dsn, execute=True).status == "repaired"
    return first, second


def test_a_row_that_a_later_repair_deleted_is_refused(people: Shop) -> None:
    first, _ = twice_repaired(people)
    early = undo(first.run, db=people.dsn, execute=True)
    assert (early.status, early.restored) == ("partly", {"public.people": 4})
    assert len(early.refused) == 4


def test_two_repairs_are_undone_the_last_one_first(people: Shop) -> None:
    first, second = twice_repaired(people)
    assert undo(second.run, db=people.dsn, execute=True).status == "undone"
    assert undo(first.run, db=people.dsn, execute=True).refused == ()
    unchanged(people)


def test_a_verification_tells_where_it_is_and_can_be_stopped(people: Shop) -> None:
    made = people.planned("people_mail")
    people.repaired(made)
    phases: list[str] = []
    stop = threading.Event()

    def listen(event: RepairProgress) -> None:
        if event.phase not in phases:
            phases.append(event.phase)
        if event.phase == "following references":
            stop.set()

    assert verify(made.run, on_progress=lambda event: phases.append(event.phase)).clean
    assert list(dict.fromkeys(phases)) == [
        "looking for groups", "following references", "proving the index",
    ]
    phases.clear()
    with pytest.raises(RepairStopped, match="stopped at a safe point"):
        verify(made.run, on_progress=listen, stop=stop)
    assert phases == ["looking for groups", "following references"]


def test_a_run_that_the_journal_does_not_know(people: Shop) -> None:
    made = people.planned("people_mail")
    for ask in (verify, undo):
        with pytest.raises(UnknownObject, match=f"has no run {made.run.id}"):
            ask(made.run)


def test_a_round_behind_a_lock_can_be_taken_back(people: Shop) -> None:
    """Scenario: --lock, and a group that is repaired in the last round, which is one transaction.
    Outcome: all of it comes back: nobody else has changed these rows.
    """
    made = people.planned("people_mail")
    people.server.execute("UPDATE people SET note = 'changed' WHERE id = 12")
    people.repaired(made, lock=True)
    assert people.rows("SELECT count(*) FROM people") == [6]
    undone = undo(made.run, db=people.dsn, execute=True)
    assert (undone.status, undone.refused) == ("undone", ())
    people.server.execute("UPDATE people SET note = 't' WHERE id = 12")
    unchanged(people)


def test_a_group_of_which_nothing_was_changed_is_not_taken_back(people: Shop) -> None:
    made = people.planned("people_mail")
    people.repaired(made)
    with pytest.raises(UsageError, match="changed nothing of group 99"):
        undo(made.run, db=people.dsn, execute=True, groups=[99])
    assert people.rows("SELECT count(*) FROM people") == [6]


def test_an_index_that_was_made_unique_between_two_undos_is_made_plain_again(
    people: Shop,
) -> None:
    """Scenario: one group is taken back, repaired by hand, and the index made unique by the SQL
    that was printed; then the rest is taken back.
    """
    made = people.planned("people_mail")
    people.repaired(made)
    first = undo(made.run, db=people.dsn, execute=True, groups=[number_of(made, 11)])
    people.server.execute("DELETE FROM people WHERE id = 11")
    for statement in first.statements:
        people.server.execute(statement.encode())
    rest = undo(made.run, db=people.dsn, execute=True)
    assert rest.status == "undone"
    assert rest.statements == first.statements
    assert people.rows("SELECT count(*) FROM people") == [9]


def test_an_index_that_was_built_anew_between_two_undos_is_made_plain(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenario: the plain index waits for a lock that was not to be had; meanwhile the unique one
    is built anew, by REINDEX CONCURRENTLY, and has another oid.
    Outcome: the next call leaves nothing beside the plain one.
    """
    constraint = "ALTER TABLE people ADD CONSTRAINT people_mail UNIQUE USING INDEX people_mail"
    shop.make(f"{PEOPLE};{constraint}", "people_mail", TWINS)
    made = shop.planned("people_mail")
    shop.repaired(made)

    def busy(*_: object) -> None:
        raise LockNotAvailable("the table is busy")

    with monkeypatch.context() as patch:
        patch.setattr(plainindex, "in_one_transaction", busy)
        with pytest.raises(LockNotAvailable):
            undo(made.run, db=shop.dsn, execute=True, drop_constraints=["people_mail"])
    shop.server.execute("REINDEX INDEX CONCURRENTLY people_mail")
    undone = undo(made.run, db=shop.dsn, execute=True, drop_constraints=["people_mail"])
    assert undone.status == "undone"
    assert shop.rows(
        "SELECT indexrelid::regclass::text, indisunique FROM pg_index"
        " WHERE indrelid = 'people'::regclass ORDER BY 1"
    ) == [("people_mail", False), ("people_pkey", True)]
    unchanged(shop)
