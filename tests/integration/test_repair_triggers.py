"""Triggers of the tables: what they change is journaled or refused, never lost."""

from __future__ import annotations

import pytest

from dedupe import Plan, repair, undo
from dedupe.errors import FailureError, UndoRefused, UnplannedEffect

from ..promises.shop import Shop
from ..repairing import refusal, unchanged

MAKE = (
    "CREATE TABLE people (id int8 PRIMARY KEY, mail text, n int4, at timestamptz DEFAULT 'epoch');"
    "CREATE UNIQUE INDEX people_mail ON people (mail);"
    "INSERT INTO people VALUES (1, 'a', 1), (2, 'b', 2)"
)
TWINS = "INSERT INTO people VALUES (11, 'a', 10), (12, 'b', 20)"
CHILD = (
    "CREATE TABLE c (id int8 PRIMARY KEY, p int8 REFERENCES people ON DELETE CASCADE,"
    " at timestamptz DEFAULT 'epoch', word text);"
    "INSERT INTO c (id, p, word) VALUES (1, 11, 'x'), (2, 1, 'y'), (3, 12, 'z')"
)
#: a table that takes no part in a repair
ASIDE = (
    "CREATE TABLE aside (id int8 PRIMARY KEY, person int8);"
    "INSERT INTO aside VALUES (1, 11), (2, 12), (3, 1)"
)


def trigger(table: str, when: str, body: str, each: str = "ROW") -> str:
    name = f"on_{table}_{when.rsplit(maxsplit=1)[-1].lower()}"
    return (
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$;"
        f"CREATE TRIGGER {name} {when} ON {table} FOR EACH {each} EXECUTE FUNCTION {name}()"
    )


STAMP = "NEW.at := clock_timestamp(); RETURN NEW;"


@pytest.fixture
def people(shop: Shop) -> Shop:
    shop.make(MAKE, "people_mail", TWINS, then=f"{CHILD};{ASIDE}")
    return shop


@pytest.mark.parametrize("table", ["people", "c"])
def test_a_stamp_that_a_trigger_sets_is_journaled(people: Shop, table: str) -> None:
    """Scenario: a trigger stamps every updated row; the undo is stamped as well.
    Outcome: the undo is refused by name rather than half right; without the trigger every
    stamp is what it was before the repair.
    """
    people.server.execute(trigger(table, "BEFORE UPDATE", STAMP).encode())
    made = people.planned("people_mail", merge={"n": "sum"})
    people.repaired(made)
    stamped = people.rows(f"SELECT count(*) FROM {table} WHERE at > 'epoch'")
    assert stamped == [2]
    with pytest.raises(UndoRefused) as refused:
        undo(made.run, db=people.dsn, execute=True)
    assert "trigger" in refused.value.message
    assert people.rows("SELECT count(*) FROM people") == [2]
    people.server.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL".encode())
    people.undone(made)


def test_a_trigger_that_changes_what_is_restored_is_noticed(people: Shop) -> None:
    """Scenario: a trigger fills a column of every inserted row."""
    made = people.planned("people_mail")
    people.repaired(made)
    people.server.execute(trigger("people", "BEFORE INSERT", STAMP).encode())
    with pytest.raises(UndoRefused) as refused:
        undo(made.run, db=people.dsn, execute=True)
    assert "trigger" in refused.value.message
    people.server.execute("DROP TRIGGER on_people_insert ON people")
    people.undone(made)


@pytest.mark.usefixtures("few_rounds")
@pytest.mark.parametrize(
    ("table", "when", "body"),
    [
        ("people", "BEFORE DELETE", "DELETE FROM c WHERE word = 'y'; RETURN OLD;"),
        ("people", "AFTER DELETE", "DELETE FROM c WHERE word = 'y'; RETURN OLD;"),
        ("people", "AFTER DELETE", "UPDATE c SET word = 'w' WHERE word = 'y'; RETURN OLD;"),
        ("people", "BEFORE DELETE", "RETURN NULL;"),
        ("c", "BEFORE UPDATE", "RETURN NULL;"),
        ("c", "BEFORE UPDATE", "NEW.p := 2; RETURN NEW;"),
        ("c", "BEFORE UPDATE", "NEW.p := OLD.p; RETURN NEW;"),
        ("c", "AFTER UPDATE", "DELETE FROM c WHERE id = OLD.id; RETURN NEW;"),
        ("people", "AFTER DELETE", "UPDATE people SET n = 0 WHERE id = 2; RETURN NULL;"),
        ("people", "AFTER DELETE", "DELETE FROM people WHERE n = 2; RETURN NULL;"),
    ],
)
def test_a_trigger_that_interferes_rolls_the_batch_back(
    people: Shop, table: str, when: str, body: str
) -> None:
    """Outcome: nothing is changed, and the reason is told: that a trigger stands in between, or
    what the foreign key's own check said. Without the trigger the repair goes through.
    """
    made = trigger(table, when, body)
    people.server.execute(made.encode())
    plan = people.planned("people_mail")
    assert attempt(people, plan)
    unchanged(people)
    name = made.partition(" TRIGGER ")[2].split()[0]
    people.server.execute(f"DROP TRIGGER {name} ON {table}".encode())
    people.repaired(plan)


@pytest.mark.parametrize(
    ("table", "when", "body", "each"),
    [
        ("people", "AFTER DELETE", "DELETE FROM aside WHERE person = OLD.id; RETURN NULL;", "ROW"),
        ("people", "AFTER DELETE", "UPDATE aside SET person = 0; RETURN NULL;", "STATEMENT"),
        ("c", "BEFORE UPDATE", "UPDATE aside SET person = NEW.p; RETURN NEW;", "ROW"),
    ],
)
def test_what_a_trigger_takes_from_a_table_without_a_part_is_refused(
    people: Shop, table: str, when: str, body: str, each: str
) -> None:
    """Outcome: nothing is changed; table and statement are named, and with it the repair works."""
    people.server.execute(trigger(table, when, body, each).encode())
    plan = people.planned("people_mail")
    with pytest.raises(UnplannedEffect) as refused:
        repair(plan, db=people.dsn, execute=True)
    unchanged(people)
    assert people.rows("SELECT person FROM aside ORDER BY id") == [11, 12, 1]
    assert "rows of public.aside, which takes no part" in refused.value.message
    assert refused.value.hint is not None
    people.server.execute(refused.value.hint.partition(": ")[2].encode())
    people.repaired(plan)
    assert people.rows("SELECT person FROM aside ORDER BY id") == [11, 12, 1]


def test_what_a_trigger_takes_where_rows_are_renamed_is_refused(people: Shop) -> None:
    body = "DELETE FROM aside WHERE person = OLD.id; RETURN NEW;"
    people.server.execute(trigger("people", "BEFORE UPDATE", body).encode())
    plan = people.planned("people_mail", loser="rename:mail")
    with pytest.raises(UnplannedEffect, match=r"public\.aside"):
        repair(plan, db=people.dsn, execute=True)
    unchanged(people)
    assert people.rows("SELECT count(*) FROM aside") == [3]


def test_what_a_trigger_notes_down_is_let_pass(people: Shop) -> None:
    """Scenario: a trigger enters what goes into an audit table."""
    people.server.execute("CREATE TABLE audit (person int8)")
    body = "INSERT INTO audit VALUES (OLD.id); RETURN NULL;"
    people.server.execute(trigger("people", "AFTER DELETE", body).encode())
    people.repaired(people.planned("people_mail"))
    assert people.rows("SELECT person FROM audit ORDER BY 1") == [11, 12]


def attempt(shop: Shop, plan: Plan) -> list[str]:
    """Repair what cannot be repaired, and give the reasons."""
    try:
        result = repair(plan, db=shop.dsn, execute=True)
    except UnplannedEffect as error:
        return [error.message] if "trigger" in error.message and error.hint else []
    return [why for _, why in result.skipped] if result.repaired == 0 else []


@pytest.mark.usefixtures("few_rounds")
def test_a_trigger_that_raises_leaves_its_group(people: Shop) -> None:
    """Outcome: the other group is repaired; the message of the trigger is the reason."""
    body = "IF OLD.id = 11 THEN RAISE 'not this one'; END IF; RETURN OLD;"
    people.server.execute(trigger("people", "BEFORE DELETE", body).encode())
    made = people.planned("people_mail")
    result = repair(made, db=people.dsn, execute=True)
    assert (result.status, result.left, result.repaired) == ("left", 1, 1)
    assert "not this one" in result.skipped[0][1]
    assert people.rows("SELECT id FROM people ORDER BY 1") == [1, 2, 11]


@pytest.mark.parametrize("body", ["RETURN NULL;", "DELETE FROM c; RETURN OLD;", "RAISE 'never';"])
def test_with_triggers_off_none_of_them_runs(people: Shop, body: str) -> None:
    """Outcome: triggers stay as they were, every reference resolves, undo brings all back."""
    people.server.execute(trigger("people", "BEFORE DELETE", body).encode())
    made = people.planned("people_mail")
    people.repaired(made, triggers="off")
    assert people.rows("SELECT p FROM c ORDER BY id") == [1, 1, 2]
    assert people.rows("SELECT tgenabled FROM pg_trigger WHERE NOT tgisinternal") == ["O"]
    people.undone(made)


def test_with_triggers_off_a_reference_that_leads_nowhere_is_told(people: Shop) -> None:
    """Scenario: a row pointed at nothing before the repair.
    Outcome: the repair says so at its end, and can be taken back.
    """
    people.server.execute(
        "SET session_replication_role = replica; INSERT INTO c (id, p) VALUES (9, 99);"
        "RESET session_replication_role"
    )
    made = people.planned("people_mail")
    error = refusal(people, made, FailureError, triggers="off")
    assert "public.c (p)" in error.message
    assert "undo" in str(error.hint)
    undone = undo(made.run, db=people.dsn, execute=True)
    assert (undone.status, undone.refused) == ("undone", ())


@pytest.mark.parametrize(
    "audit",
    [
        "public.audit",
        "audit",
    ],
)
def test_triggers_that_only_look_are_let_be(people: Shop, audit: str) -> None:
    """Scenario: an audit trigger writes each change down, in a table that it may name without
    its schema, as applications do.
    Outcome: the repair goes through, and the audit has every change.
    """
    people.server.execute("CREATE TABLE audit (what text, id int8)")
    for table in ("people", "c"):
        for event in ("UPDATE", "DELETE"):
            body = f"INSERT INTO {audit} VALUES (TG_OP || TG_RELNAME, OLD.id); RETURN NULL;"
            people.server.execute(trigger(table, f"AFTER {event}", body).encode())
    made = people.planned("people_mail")
    people.repaired(made)
    assert people.rows("SELECT what, id FROM audit ORDER BY 1, 2") == [
        ("DELETEpeople", 11),
        ("DELETEpeople", 12),
        ("UPDATEc", 1),
        ("UPDATEc", 3),
    ]


def test_a_stamp_of_a_partitions_own_trigger_is_journaled(shop: Shop) -> None:
    """Scenario: children are partitioned, and one partition alone has a trigger that stamps.
    Outcome: the stamp comes back with the row.
    """
    shop.make(
        MAKE,
        "people_mail",
        TWINS,
        then="CREATE TABLE c (id int8, p int8 REFERENCES people, at timestamptz DEFAULT 'epoch')"
        " PARTITION BY LIST (id); CREATE TABLE c_1 PARTITION OF c FOR VALUES IN (1);"
        "CREATE TABLE c_2 PARTITION OF c DEFAULT; INSERT INTO c VALUES (1, 11), (2, 12);"
        + trigger("c_2", "BEFORE UPDATE", STAMP),
    )
    made = shop.planned("people_mail")
    shop.repaired(made)
    assert shop.rows("SELECT count(*) FROM c WHERE at > 'epoch'") == [1]
    shop.server.execute("ALTER TABLE c_2 DISABLE TRIGGER on_c_2_update")
    shop.undone(made)
