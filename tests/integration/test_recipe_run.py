"""A recipe is carried out over several tables: shown, done, gone on with, and taken back."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from dedupe.errors import NotReady, RecipeError, RunMismatch
from dedupe.recipes import Recipe, decide, read_recipe, run_recipe, undo_recipe, verify_recipe

from ..scanning import Connection

TEXT = """
format = 1
name = "shop"
title = "A shop"

[schema]
tables = ["people", "orders"]

[[question]]
id = "strangers"
asks = "People have one name and different mails. What becomes of the older one?"
answers = { merge = "It is merged.", rename = "It gets another name." }
default = "rename"

[[index]]
name = "people_name"
table = "people"
key = ["lower(name)"]

[[step]]
id = "people"
table = "people"
index = "people_name"
after = ["orders"]

[[step.case]]
same = "a.mail = b.mail"
keep = ["newest"]
merge = { points = "sum", nickname = "first" }

[[step.case]]
answered = { strangers = "merge" }
keep = ["newest"]

[[step.case]]
answered = { strangers = "rename" }
keep = ["newest"]
loser = "rename:name"

[[index]]
name = "people_token"
table = "people"
key = ["token"]

[[step]]
id = "people.token"
table = "people"
after = ["people"]
index = "people_token"

[[step.case]]
keep = ["newest"]
loser = "blank:token"

[[index]]
name = "orders_number"
table = "orders"
key = ["number"]

[[step]]
id = "orders"
table = "orders"
index = "orders_number"

[[step.case]]
keep = ["oldest"]

[[child]]
table = "visits"
on_collision = "survivor; count=sum"

[[child]]
table = "friends"
apart = ["one", "other"]

[[child]]
table = "nowhere"
on_collision = "newest"

[[soft]]
table = "notes"
column = "about_id"
type_column = "about"
type_value = "Person"
parent = "people"

[[soft]]
table = "notes"
column = "about_id"
type_column = "about"
type_value = "Order"
parent = "orders"

[otherwise]
keep = ["newest"]

[[afterwards]]
refresh = "names"

[[afterwards]]
tell = "Clear the cache."
"""
TABLES = ("people", "orders", "visits", "friends", "notes", "tags")


@pytest.fixture
def recipe() -> Recipe:
    """Give a recipe for a shop."""
    return read_recipe(TEXT, "shop.toml")


@pytest.fixture
def shop(db: Connection) -> Connection:
    """Give a shop with duplicates under every key, behind indexes that are unique by name."""
    db.execute(
        """
        CREATE TABLE people (id int8 PRIMARY KEY, name text, mail text, points int, token text);
        CREATE TABLE orders (id int8 PRIMARY KEY, number text,
            person int8 NOT NULL REFERENCES people ON DELETE CASCADE);
        CREATE TABLE visits (id int8 PRIMARY KEY, person int8 REFERENCES people ON DELETE CASCADE,
            day int, count int, UNIQUE (person, day));
        CREATE TABLE friends (id int8 PRIMARY KEY, one int8 REFERENCES people,
            other int8 REFERENCES people, UNIQUE (one, other));
        CREATE TABLE notes (id int8 PRIMARY KEY, about text, about_id int8);
        CREATE TABLE tags (id int8 PRIMARY KEY, name text);
        INSERT INTO people VALUES (1, 'Anna', 'a@x', 1, 't1'), (2, 'anna', 'a@x', 2, 't1'),
            (3, 'Bert', 'b@x', 3, 't3'), (4, 'bert', 'c@x', 4, 't4'), (5, 'Carl', 'd@x', 5, 't1');
        INSERT INTO orders VALUES (1, 'n1', 1), (2, 'n1', 2), (3, 'n2', 3), (4, 'n3', 4);
        INSERT INTO visits VALUES (1, 1, 1, 10), (2, 2, 1, 20), (3, 1, 2, 30), (4, 5, 1, 40);
        INSERT INTO friends VALUES (1, 1, 2), (2, 1, 3), (3, 2, 3), (4, 5, 1);
        INSERT INTO notes VALUES (1, 'Person', 1), (2, 'Order', 2), (3, 'Order', 1),
            (4, 'Person', 3);
        INSERT INTO tags VALUES (1, 'one'), (2, 'one');
        CREATE INDEX people_name ON people (lower(name));
        CREATE INDEX people_token ON people (token);
        CREATE INDEX orders_number ON orders (number);
        CREATE INDEX tags_name ON tags (name);
        UPDATE pg_index SET indisunique = true WHERE indexrelid IN ('people_name'::regclass,
            'people_token'::regclass, 'orders_number'::regclass);
        CREATE MATERIALIZED VIEW names AS SELECT name FROM people
        """
    )
    return db


def state(db: Connection) -> dict[str, list[tuple[object, ...]]]:
    return {
        table: db.execute(f"SELECT * FROM {table} ORDER BY id").fetchall() for table in TABLES
    }


def test_a_recipe_is_shown_done_and_taken_back(
    database: str, shop: Connection, recipe: Recipe, place: Path
) -> None:
    """Outcome: every key holds, what pointed at a loser points at the survivor, the table of
    another application is left alone, and undo brings all of it back.
    """
    before = state(shop)
    shown = run_recipe(recipe, place, database, live=True)
    assert shown.status == "shown"
    assert {step.id: (step.groups, step.losers) for step in shown.steps} == {
        "orders": (1, 1), "people": (2, 2), "people.token": (1, 2),
    }
    assert [text.partition(" ")[0] for text in shown.open] == ["strangers"]
    assert state(shop) == before
    with pytest.raises(NotReady, match="strangers is not decided"):
        run_recipe(recipe, place, database, live=True, execute=True, reason="a test")
    assert state(shop) == before
    done = run_recipe(
        recipe, place, database, live=True, defaults=True, execute=True, reason="a test"
    )
    assert done.status == "repaired", done.steps
    assert {step.id: step.status for step in done.steps} == {
        "orders": "repaired", "people": "repaired", "people.token": "repaired",
    }
    assert done.tell == ("Clear the cache.",)
    now = state(shop)
    people = {row[0]: row[1:] for row in now["people"]}
    assert set(people) == {2, 3, 4, 5}
    assert people[2][2] == 3
    assert people[4][0] == "bert"
    assert people[3][0] != "Bert"
    assert sorted(row[3] for row in people.values() if row[3]) == ["t1", "t3", "t4"]
    assert now["orders"] == [(1, "n1", 2), (3, "n2", 3), (4, "n3", 4)]
    assert now["visits"] == [(2, 2, 1, 30), (3, 2, 2, 30), (4, 5, 1, 40)]
    assert now["friends"] == [(3, 2, 3), (4, 5, 2)]
    assert now["notes"] == [
        (1, "Person", 2), (2, "Order", 1), (3, "Order", 1), (4, "Person", 3),
    ]
    assert now["tags"] == before["tags"]
    assert shop.execute("SELECT count(*) FROM names").fetchone() == (4,)
    assert all(one.verification.clean for one in verify_recipe(place, database))
    again = run_recipe(
        recipe, place, database, live=True, defaults=True, execute=True, reason="a test"
    )
    assert (again.status, state(shop)) == ("repaired", now)
    undo_recipe(place, database, execute=True)
    assert state(shop) == before


def test_an_answer_decides(
    database: str, shop: Connection, recipe: Recipe, place: Path, tmp_path: Path
) -> None:
    """Scenario: strangers are to be merged, by an answer and by a file."""
    answers = tmp_path / "answers.toml"
    answers.write_text('strangers = "merge"')
    decisions = decide(recipe, file=answers)
    assert decisions == decide(recipe, ["strangers=merge"])
    run_recipe(
        recipe, place, database, decisions=decisions, live=True, execute=True, reason="a test"
    )
    assert [row[0] for row in state(shop)["people"]] == [2, 4, 5]
    with pytest.raises(RunMismatch, match="other decisions"):
        run_recipe(recipe, place, database, live=True, defaults=True, execute=True, reason="a test")


@pytest.mark.usefixtures("shop")
def test_others_must_be_gone(database: str, place: Path) -> None:
    alone = read_recipe(TEXT + "[before]\nalone = true\n", "shop.toml")
    with psycopg.connect(database, application_name="a shop's worker"):
        shown = run_recipe(alone, place, database)
        assert any("a shop's worker" in text for text in shown.unmet)
        with pytest.raises(NotReady, match="others are connected"):
            run_recipe(alone, place, database, defaults=True, execute=True, reason="a test")


@pytest.mark.usefixtures("shop")
def test_a_directory_belongs_to_one_recipe(
    database: str, recipe: Recipe, place: Path
) -> None:
    run_recipe(recipe, place, database, live=True)
    other = read_recipe(TEXT.replace('keep = ["oldest"]', 'keep = ["newest"]'), "shop.toml")
    with pytest.raises(RunMismatch, match="another recipe"):
        run_recipe(other, place, database, live=True)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("strangers", "not written"),
        ("strangers=both", "no answer 'both'"),
        ("stranger=merge", "does not ask stranger"),
    ],
)
def test_a_decision_that_is_none_is_refused(recipe: Recipe, given: str, why: str) -> None:
    with pytest.raises(RecipeError, match=why):
        decide(recipe, [given])


def test_rows_with_twins_under_two_keys_are_repaired_under_both(
    database: str, shop: Connection, place: Path
) -> None:
    """Scenario: of three people, each has a twin under another key; the unique index of either
    key refuses to let them be changed.
    Outcome: both keys hold, both indexes are unique again and say so no more, and undo brings
    all of it back.
    """
    lying = (
        "UPDATE pg_index SET indisunique = %s WHERE indexrelid IN ('people_name'::regclass,"
        " 'people_token'::regclass)"
    )
    shop.execute(lying, [False])
    shop.execute(
        "INSERT INTO people VALUES (6, 'Dora', 'e@x', 6, 't6'), (7, 'dora', 'f@x', 7, 't7'),"
        " (8, 'Emil', 'g@x', 8, 't6'), (9, 'emil', 'g@x', 9, 't7')"
    )
    shop.execute(lying, [True])
    shop.execute("COMMENT ON INDEX people_name IS 'one name a person'")
    before = state(shop)
    first = read_recipe(TEXT.replace('after = ["people"]\n', ""), "shop.toml")
    text = TEXT.replace('after = ["orders"]', 'after = ["people.token"]')
    second = read_recipe(text.replace('after = ["people"]\n', ""), "shop.toml")
    for number, recipe in enumerate((first, second)):
        done = run_recipe(
            recipe, place / str(number), database,
            live=True, defaults=True, execute=True, reason="a test",
        )
        assert (done.status, [step.left for step in done.steps]) == ("repaired", [0, 0, 0])
        assert unique(shop) == {
            ("orders_number", True, None), ("people_name", True, "one name a person"),
            ("people_token", True, None), ("tags_name", False, None),
        }
        people = {row[0]: row for row in state(shop)["people"]}
        assert {1, 8}.isdisjoint(people)
        for key in (lambda row: row[1].lower(), lambda row: row[4]):
            values = [key(row) for row in people.values() if row[4] is not None]
            assert len(values) == len(set(values))
        undo_recipe(place / str(number), database, execute=True)
        assert state(shop) == before


def test_a_twin_that_waits_for_the_next_round_is_in_nobodys_way(
    database: str, shop: Connection, recipe: Recipe, place: Path
) -> None:
    """Scenario: of three rows of a name two are merged, and their index knows the third, which
    is decided about after that.
    """
    lying = "UPDATE pg_index SET indisunique = %s WHERE indexrelid = 'people_name'::regclass"
    shop.execute(lying, [False])
    shop.execute(
        "INSERT INTO people SELECT 10 * g + n, 'Trio ' || g, CASE n WHEN 1 THEN 'z' ELSE 'a' END"
        " || g, n, NULL FROM generate_series(1, 5) g, generate_series(1, 3) n"
    )
    shop.execute(lying, [True])
    # What an index holds cannot be changed without new entries in all of them.
    shop.execute("CREATE INDEX people_points ON people (points)")
    before = state(shop)
    done = run_recipe(
        recipe, place, database, live=True, defaults=True, execute=True, reason="a test"
    )
    assert (done.status, [step.left for step in done.steps]) == ("repaired", [0, 0, 0])
    trios = [row[:4] for row in state(shop)["people"] if row[0] > 9]
    assert [row[0] for row in trios] == [n for g in range(1, 6) for n in (10 * g + 1, 10 * g + 3)]
    assert {row[3] for row in trios} == {1, 5}
    assert len({str(row[1]).lower() for row in trios}) == 10
    assert ("people_name", True, None) in unique(shop)
    undo_recipe(place, database, execute=True)
    assert state(shop) == before


def unique(db: Connection) -> set[tuple[str, bool, str | None]]:
    """Return each index but the primary keys': whether it is unique, and its comment."""
    return set(
        db.execute(
            "SELECT c.relname, indisunique, obj_description(c.oid, 'pg_class') FROM pg_class c"
            " JOIN pg_index i ON i.indexrelid = c.oid JOIN pg_class t ON t.oid = i.indrelid"
            " WHERE t.relname IN ('people', 'orders', 'tags') AND NOT indisprimary"
        )
    )
