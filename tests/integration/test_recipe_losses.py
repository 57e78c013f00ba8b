"""What goes for good by an answer: listed row by row before, and exactly that goes then."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dedupe import Losses, RecipeResult
from dedupe.errors import RepairStopped
from dedupe.recipes import Recipe, decide, read_recipe, run_recipe

from ..scanning import Connection

TEXT = """
format = 1
name = "club"
title = "A club"
soft = [
    { table = "lists", column = "members", parent = "people", kind = "array" },
    { table = "notes", column = "about", parent = "people" },
]

[schema]
tables = ["people", "letters"]

[[question]]
id = "strangers"
asks = "What becomes of strangers?"
answers = { delete = "They go.", merge = "They are merged." }
default = "delete"

[[index]]
name = "people_name"
table = "people"
key = ["lower(name)"]

[[step]]
id = "people"
table = "people"
index = "people_name"

[[step.case]]
same = "a.code = b.code"
keep = ["newest"]

[[step.case]]
answered = { strangers = "delete" }
keep = ["newest"]
accept_loss = ["*"]

[[step.case]]
answered = { strangers = "merge" }
keep = ["newest"]
"""


@pytest.fixture
def recipe() -> Recipe:
    """Give a recipe by which strangers go with all that hangs on them."""
    return read_recipe(TEXT, "club.toml")


@pytest.fixture
def club(db: Connection) -> Connection:
    """Give two that go (1 and 3), one that is merged (5), and rows on all of them.

    Letters are answered by others, which go too, and lead to others, which do not; stamps hang
    on letters, and nothing finds them but the heap.
    """
    db.execute(
        """
        CREATE TABLE people (id int8 PRIMARY KEY, name text, code int);
        CREATE TABLE letters (id int8 PRIMARY KEY,
            person int8 REFERENCES people ON DELETE CASCADE,
            answers int8 REFERENCES letters ON DELETE CASCADE,
            before int8 REFERENCES letters ON DELETE SET NULL,
            handed_on_by int8 REFERENCES people ON DELETE SET NULL);
        CREATE TABLE stamps (id int8 PRIMARY KEY, letter int8 REFERENCES letters ON DELETE CASCADE);
        CREATE TABLE lists (id int8 PRIMARY KEY, members int8[]);
        CREATE TABLE notes (id int8 PRIMARY KEY, about int8 NOT NULL);
        INSERT INTO people VALUES (1, 'Anna', 1), (2, 'anna', 2), (3, 'Bert', 3), (4, 'bert', 4),
            (5, 'Carl', 5), (6, 'carl', 5), (7, 'Dora', 7);
        INSERT INTO letters VALUES
            (10, 1, NULL, NULL, NULL), (11, 1, NULL, NULL, NULL),  -- of 1
            (12, 7, 10, NULL, NULL),                               -- an answer to one of these
            (13, 3, 12, NULL, NULL),                               -- of 3, and an answer to that
            (14, 5, NULL, NULL, NULL),                             -- of one that is merged
            (15, 7, NULL, 10, NULL),                               -- says NULL then
            (16, 7, NULL, NULL, 1), (17, 7, NULL, NULL, 3),        -- the same
            (18, 1, NULL, 10, 1);                                  -- goes, whatever it says
        INSERT INTO stamps SELECT n, 10 + n % 9 FROM generate_series(0, 17) n;
        INSERT INTO lists VALUES (1, '{1,3,7}'), (2, '{2,4}'), (3, '{5}'), (4, NULL);
        INSERT INTO notes VALUES (1, 1), (2, 2), (3, 5);
        CREATE INDEX ON letters (person);
        CREATE INDEX people_name ON people (lower(name));
        UPDATE pg_index SET indisunique = true WHERE indexrelid = 'people_name'::regclass
        """
    )
    return db


def ids(db: Connection) -> dict[str, set[int]]:
    found = {}
    for table in ("people", "letters", "stamps", "lists", "notes"):
        rows = db.execute(f"SELECT id FROM {table}").fetchall()
        found[f"public.{table}"] = {int(str(number)) for (number,) in rows}
    return found


def listed(losses: Losses) -> list[dict[str, Any]]:
    return [json.loads(line) for line in losses.file.read_text("ascii").splitlines()]


def shown(recipe: Recipe, place: Path, database: str, **named: Any) -> RecipeResult:
    return run_recipe(recipe, place, database, live=True, **named)


def test_what_goes_for_good_is_listed_before_and_just_that_goes(
    database: str, club: Connection, recipe: Recipe, place: Path
) -> None:
    """Outcome: each row that goes counts once, whatever it hangs on; what stays and says NULL
    then counts apart; after the repair exactly those rows are gone.
    """
    before = ids(club)
    (losses,) = shown(recipe, place, database).losses
    assert ids(club) == before
    assert (losses.step, losses.table, losses.rows) == ("people", "public.people", 2)
    assert losses.answered == {"strangers": "delete"}
    assert losses.gone == {"public.letters": 5, "public.notes": 1, "public.stamps": 10}
    assert losses.emptied == {
        "public.letters.before": 1, "public.letters.handed_on_by": 2, "public.lists.members": 1,
    }
    assert losses.sentence == (
        "for good go, in step people, by strangers=delete: 2 of public.people, and with them 5 of"
        " public.letters, 1 of public.notes, 10 of public.stamps; emptied: 1 of"
        " public.letters.before, 2 of public.letters.handed_on_by, 1 of public.lists.members"
    )
    rows = listed(losses)
    assert [(row["row"]["pk"], row["survivor"]["pk"]) for row in rows] == [
        ({"id": "1"}, {"id": "2"}), ({"id": "3"}, {"id": "4"}),
    ]
    assert [one.row.pk for one in losses.first] == [row["row"]["pk"] for row in rows]
    assert sum(row["gone"]["public.letters"] for row in rows) == 5
    assert losses.file.stat().st_mode & 0o777 == 0o600
    messages = []
    done = shown(
        recipe, place, database, defaults=True, execute=True, reason="a test",
        on_progress=lambda _, event: messages.append(getattr(event, "message", None)),
    )
    assert f"{losses.sentence}; each is listed in {losses.file}" in messages
    after = ids(club)
    went = {table: len(before[table] - after[table]) for table in before}
    # One more is merged.
    assert went == {
        "public.people": 3, "public.letters": 5, "public.stamps": 10, "public.lists": 0,
        "public.notes": 1,
    }
    assert club.execute("SELECT id FROM letters WHERE before IS NOT NULL").fetchall() == []
    assert club.execute("SELECT members FROM lists WHERE id = 1").fetchone() == ([7],)
    # It is what was listed before, also when all of it is gone.
    assert (done.losses, shown(recipe, place, database).losses) == ((losses,), (losses,))


@pytest.mark.usefixtures("club")
def test_another_answer_lists_something_else(
    database: str, recipe: Recipe, place: Path
) -> None:
    """Outcome: nothing goes for good where all are merged, and no list of it is left."""
    (losses,) = shown(recipe, place, database).losses
    merged = decide(recipe, ["strangers=merge"])
    assert shown(recipe, place, database, decisions=merged).losses == ()
    assert not losses.file.exists()
    deleted = decide(recipe, ["strangers=delete"])
    assert shown(recipe, place, database, decisions=deleted).losses == (losses,)


def test_what_cannot_be_read_is_told(
    database: str, club: Connection, recipe: Recipe, place: Path
) -> None:
    """Scenario: a role that may not read one of the tables. Outcome: a note; the rest counts."""
    club.execute(
        "CREATE ROLE reader LOGIN; GRANT SELECT ON people, letters, lists, notes TO reader"
    )
    try:
        dsn = psycopg.conninfo.make_conninfo(database, user="reader")
        result = shown(recipe, place, dsn)
        (losses,) = result.losses
        assert losses.gone == {"public.letters": 5, "public.notes": 1}
        (told,) = [note for note in result.notes if "stamps" in note]
        assert told.startswith(
            "what of public.stamps.letter goes with rows of public.people is not counted"
        )
    finally:
        club.execute("DROP OWNED BY reader; DROP ROLE reader")


@pytest.mark.usefixtures("club")
def test_a_stop_is_heard_while_it_is_listed(database: str, recipe: Recipe, place: Path) -> None:
    """Outcome: it ends there, and the same call goes on."""
    stop = threading.Event()
    with pytest.raises(RepairStopped):
        shown(
            recipe, place, database, stop=stop,
            on_progress=lambda what, _: stop.set() if what == "losses" else None,
        )
    assert shown(recipe, place, database).losses[0].rows == 2
