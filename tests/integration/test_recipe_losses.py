"""What goes for good by an answer: listed row by row before, and exactly that goes then."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dedupe import Loss, Losses, Plan, RecipeResult, connect
from dedupe.errors import NotReady, RepairStopped
from dedupe.recipes import Recipe, decide, read_recipe, run_recipe
from dedupe.recipes import losses as listing
from dedupe.repair.losses import list_losses
from dedupe.repair.telling import Telling
from dedupe.surroundings import Surroundings

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
        "for good go, in step people, by strangers=delete: 2 of public.people, and with them 16"
        " rows of other tables (4 more are emptied of what they say)"
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
    # It is what was listed before, also when all of it is gone, and the journal as well.
    assert done.losses == (losses,)
    for _ in range(2):
        assert shown(recipe, place, database).losses == (replace(losses, begun=True),)
        club.execute("DROP SCHEMA IF EXISTS pgmend CASCADE")


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


def test_what_a_later_round_decides_is_asked_and_listed_as_well(
    database: str, club: Connection, recipe: Recipe, place: Path
) -> None:
    """Scenario: of three rows of one name two are merged, so that the third meets the question
    only in the next round; and no other group does.

    Outcome: the question is open, what goes is listed, nothing is written before it is decided,
    and its group has a number of its own.
    """
    flag = "UPDATE pg_index SET indisunique = {} WHERE indexrelid = 'people_name'::regclass"
    club.execute(f"DELETE FROM people WHERE id IN (2, 4); {flag.format('false')}")
    club.execute("INSERT INTO people VALUES (8, 'CARL', 8), (9, 'CARL', 5)")
    club.execute(flag.format("true"))
    club.execute("INSERT INTO letters VALUES (20, 8, NULL, NULL, NULL)")
    result = shown(recipe, place, database)
    assert [(one.id, one.groups) for one in result.undecided] == [("strangers", 1)]
    (losses,) = result.losses
    assert [(one.row.pk, one.survivor.pk) for one in losses.first] == [({"id": "8"}, {"id": "9"})]
    assert losses.gone == {"public.letters": 1}
    before = ids(club)
    with pytest.raises(NotReady, match="strangers is not decided for 1 group"):
        shown(recipe, place, database, execute=True, reason="x")
    assert ids(club) == before
    shown(recipe, place, database, defaults=True, execute=True, reason="x")
    assert before["public.people"] - ids(club)["public.people"] == {5, 6, 8}
    groups = club.execute(
        "SELECT e.before[1], e.groups FROM pgmend.entry e JOIN pgmend.shape s ON s.run = e.run"
        " AND s.number = e.shape WHERE e.action = 'd' AND s.table_name = 'people'"
    ).fetchall()
    number = {str(one): of for one, of in groups}
    assert number["5"] == number["6"]
    assert number["8"] != number["5"]


def test_rows_that_were_changed_since_the_scan_are_counted(
    database: str, club: Connection, recipe: Recipe, place: Path
) -> None:
    """Scenario: rows of the plan are changed, and one is deleted, before its losses are listed."""
    (losses,) = shown(recipe, place, database).losses

    def listed_now() -> tuple[list[dict[str, int]], list[str]]:
        unread: list[str] = []
        with connect(database).open() as session:
            plan, around = Plan.open(place / "steps" / "people"), Surroundings(session)
            found = list(list_losses(around, plan, Telling(None, None), unread))
        return [dict(one.gone) for one in found], unread

    known = listed_now()
    assert sum(map(Counter, known[0]), Counter()) == losses.gone
    club.execute("UPDATE people SET code = code + 100 WHERE id IN (1, 3)")
    assert listed_now() == known
    club.execute("DELETE FROM stamps; DELETE FROM letters; DELETE FROM people WHERE id = 1")
    gone, (told,) = listed_now()
    assert gone == [{}, {}]
    assert told == "1 rows of public.people that were to go are not found any more"


def test_what_was_looked_at_long_ago_is_looked_at_again(
    database: str, club: Connection, recipe: Recipe, place: Path
) -> None:
    """Scenario: after the look rows are changed so that others meet the question.
    Outcome: it is asked and listed as it is now, before anything is written.
    """
    club.execute("DELETE FROM people WHERE id IN (2, 4)")
    result = shown(recipe, place, database)
    assert (result.undecided, result.losses) == ((), ())
    club.execute("UPDATE people SET code = 50 WHERE id = 5")
    with pytest.raises(NotReady, match="strangers is not decided for 1 group"):
        shown(recipe, place, database, execute=True, reason="x")
    (losses,) = shown(recipe, place, database).losses
    assert [one.row.pk for one in losses.first] == [{"id": "5"}]


def test_what_is_merged_into_a_row_that_goes_later_is_listed(
    database: str, club: Connection, place: Path
) -> None:
    """Scenario: the cases keep rows in different orders, so that one into which another is
    merged goes in the next round.
    """
    keep = 'answered = { strangers = "delete" }\nkeep = ["newest"]'
    recipe = read_recipe(TEXT.replace(keep, keep.replace("newest", "oldest")), "club.toml")
    flag = "UPDATE pg_index SET indisunique = {} WHERE indexrelid = 'people_name'::regclass"
    club.execute(f"DELETE FROM people WHERE id IN (2, 4); {flag.format('false')}")
    club.execute("INSERT INTO people VALUES (8, 'dora', 8), (9, 'DORA', 8)")
    club.execute(
        f"{flag.format('true')}; INSERT INTO letters VALUES (20, 8, NULL, NULL, NULL)"
    )
    (losses,) = shown(recipe, place, database).losses
    assert [(one.row.pk, one.gone) for one in losses.first] == [
        ({"id": "9"}, {"public.letters": 1})
    ]
    shown(recipe, place, database, defaults=True, execute=True, reason="x")
    assert club.execute("SELECT count(*) FROM letters WHERE id = 20").fetchone() == (0,)


def test_a_row_counts_once_by_whatever_it_hangs_on(
    database: str, club: Connection, recipe: Recipe, place: Path
) -> None:
    """Scenario: two references of one column, a row that another rule merges away and that says
    NULL then, and a row that is kept but hangs on the one that goes.
    """
    club.execute(
        """
        CREATE TABLE visits (id int8 PRIMARY KEY,
            guest int8 REFERENCES people ON DELETE SET NULL,
            FOREIGN KEY (guest) REFERENCES people ON DELETE SET NULL);
        INSERT INTO visits VALUES (1, 1), (2, 1);
        ALTER TABLE people ADD friend int8 REFERENCES people ON DELETE SET NULL,
            ADD master int8 REFERENCES people ON DELETE CASCADE;
        UPDATE people SET friend = 1 WHERE id IN (5, 7);
        UPDATE people SET master = 3 WHERE id = 4
        """
    )
    (losses,) = shown(recipe, place, database).losses
    assert losses.emptied["public.visits.guest"] == 2
    assert losses.emptied["public.people.friend"] == 1
    assert losses.gone["public.people"] == 1
    assert [one.survivor_goes for one in losses.first] == [False, True]
    before = ids(club)
    shown(recipe, place, database, defaults=True, execute=True, reason="x")
    assert before["public.people"] - ids(club)["public.people"] == {1, 3, 4, 5}


def test_an_id_in_a_document_becomes_null(
    database: str, club: Connection, place: Path
) -> None:
    """Scenario: documents name one that goes for good, one that is merged, and one that stays."""
    recipe = read_recipe(
        TEXT.replace(
            "soft = [", 'soft = [\n    { table = "docs", column = "d", parent = "people",'
            ' kind = "jsonb", path = ["who"] },',
        ),
        "club.toml",
    )
    club.execute(
        """
        CREATE TABLE docs (id int8 PRIMARY KEY, d jsonb);
        INSERT INTO docs VALUES (1, '{"who": 1, "n": 1}'), (2, '{"who": "3"}'), (3, '{"who": 5}'),
            (4, '{"who": 7}'), (5, NULL)
        """
    )
    (losses,) = shown(recipe, place, database).losses
    assert losses.emptied["public.docs.d"] == 2
    shown(recipe, place, database, defaults=True, execute=True, reason="x")
    assert club.execute("SELECT d FROM docs ORDER BY id").fetchall() == [
        ({"who": None, "n": 1},), ({"who": None},), ({"who": 6},), ({"who": 7},), (None,),
    ]


def test_what_is_merged_does_not_go_with_one_that_goes(
    database: str, club: Connection, place: Path
) -> None:
    """Scenario: a letter is there twice, the older one of somebody who goes for good.
    Outcome: the letter of the one who stays takes what points at the other, and stays.
    """
    first = 'table = "people"\nindex = "people_name"\n'
    recipe = read_recipe(
        TEXT.replace(first, f'{first}after = ["letters"]\n') + """
[[index]]
name = "letters_uri"
table = "letters"
key = ["uri"]

[[step]]
id = "letters"
table = "letters"
index = "letters_uri"

[[step.case]]
keep = ["oldest"]
""",
        "club.toml",
    )
    club.execute(
        """
        ALTER TABLE letters ADD uri text;
        UPDATE letters SET uri = 'one' WHERE id IN (10, 15); UPDATE letters SET answers = 10
            WHERE id = 17;
        CREATE INDEX letters_uri ON letters (uri);
        UPDATE pg_index SET indisunique = true WHERE indexrelid = 'letters_uri'::regclass
        """
    )
    shown(recipe, place, database, defaults=True, execute=True, reason="x")
    assert club.execute("SELECT id FROM letters WHERE uri = 'one'").fetchall() == [(15,)]
    assert club.execute("SELECT answers FROM letters WHERE id = 17").fetchall() == [(15,)]


def test_what_went_is_told_whatever_became_of_the_schema(
    database: str, club: Connection, place: Path
) -> None:
    """Scenario: a case that needs a column, which goes after all was carried out."""
    recipe = read_recipe(
        TEXT.replace(
            'same = "a.code = b.code"', 'same = "a.code = b.code"\nneeds = ["people.code"]'
        ),
        "club.toml",
    )
    done = shown(recipe, place, database, defaults=True, execute=True, reason="x")
    club.execute("ALTER TABLE people RENAME code TO other")
    again = shown(recipe, place, database)
    assert [one.gone for one in again.losses] == [one.gone for one in done.losses]


@pytest.mark.usefixtures("club")
@pytest.mark.parametrize("killed", [False, True])
def test_what_was_cut_off_while_it_was_listed_is_listed_anew(
    database: str, recipe: Recipe, place: Path, monkeypatch: pytest.MonkeyPatch, *, killed: bool
) -> None:
    """Scenario: a stop, or a kill, while one of the rows is in the file and the other is not."""
    step = place / "steps" / "people"

    def cut(*given: Any) -> Iterator[Loss]:
        yield next(list_losses(*given))
        raise RepairStopped("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(listing, "list_losses", cut)
        with pytest.raises(RepairStopped):
            shown(recipe, place, database)
    assert [file.name for file in step.glob("losses*")] == []
    if killed:
        (step / "losses.jsonl.new").write_text("{")
    assert shown(recipe, place, database).losses[0].rows == 2
    assert [file.name for file in step.glob("losses*")] == ["losses.jsonl"]
